"""The world of the car-and-goal tasks of safety-gymnasium 1.0.0: its model, and where its objects are put.

The model is upstream's car.xml with upstream's objects added. Upstream compiles a new model for every episode (0.4 to
0.9 s); here the objects are moved in a compiled one, which gives the same numbers bit for bit. Layouts are drawn from
the same random stream, in the same order.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.packages import package_folder
from prefine_ray.simulators.upstream import mujoco

GOAL_RADIUS = 0.3  # m
HAZARD_RADIUS = 0.2
VASE_SIZE = 0.1  # half the edge
AGENT, CAR_BODIES = 1, 4  # body ids: the car's frame, which upstream calls the agent, comes first
_UNUSED_SENSORS = ("subtreecom", "subtreelinvel", "subtreeangmom")  # upstream computes, but does not observe them
_AGENT_KEEPOUT, _GOAL_KEEPOUT, _HAZARD_KEEPOUT, _VASE_KEEPOUT = 0.4, 0.305, 0.18, 0.15
_TRIES = 10_000  # layouts, and goal positions
_OBJECT_TRIES = 100  # positions of one object in a layout
_FREE_JOINT, _CAR_JOINTS = 7, 6  # entries of qpos: of a free joint, of the car's wheels


class LayoutError(RuntimeError):
    """No free place was found for an object."""


@dataclass(frozen=True)
class GoalWorld:
    """One level of the task. Objects stand in the order agent, goal, hazards, vases."""

    extent: float  # m; objects are put into a square from -extent to extent
    hazards: int
    vases: int
    vases_cost: bool  # touching or moving a vase costs

    @property
    def keepouts(self) -> list[float]:
        """The radius (m) around each object that no other object's radius may reach into."""
        return [_AGENT_KEEPOUT, _GOAL_KEEPOUT] + [_HAZARD_KEEPOUT] * self.hazards + [_VASE_KEEPOUT] * self.vases

    @property
    def first_vase(self) -> int:
        """Body id of the first vase."""
        return AGENT + CAR_BODIES

    @property
    def goal(self) -> int:
        """Body id of the goal; the hazards follow it."""
        return self.first_vase + self.vases

    @property
    def bodies(self) -> NDArray[np.intp]:
        """Body ids of the objects."""
        hazards = range(self.goal + 1, self.goal + 1 + self.hazards)
        return np.array([AGENT, self.goal, *hazards, *range(self.first_vase, self.goal)])


Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """Where the objects of an episode start, in the order of `GoalWorld`."""

    positions: list[Point]
    rotations: NDArray[np.float64]  # [objects], about the vertical axis, radians


def sample_layout(world: GoalWorld, rng: np.random.RandomState) -> Layout:
    """Draw a layout as upstream's reset does, up to the goal, which it then draws again.

    Raises:
        LayoutError: none was found.
    """
    for _ in range(_TRIES):
        positions = _try_layout(world, rng)
        if positions is not None:
            return Layout(positions, rng.uniform(0.0, 2.0 * np.pi, len(positions)))
    raise LayoutError(f"no layout without overlaps found in {_TRIES} tries")


def sample_goal(world: GoalWorld, occupied: list[Point], rng: np.random.RandomState) -> Point:
    """Draw a goal position that is free of the other objects: `occupied` is agent, hazards, vases.

    Raises:
        LayoutError: none was found.
    """
    agent, goal, *others = world.keepouts
    for _ in range(_TRIES):
        point = _draw(world.extent - goal, rng)
        if _is_free(point, goal, occupied, [agent, *others]):
            return point
    raise LayoutError(f"no free place for the goal found in {_TRIES} tries")


def _try_layout(world: GoalWorld, rng: np.random.RandomState) -> list[Point] | None:
    placed: list[Point] = []
    keepouts = world.keepouts
    for keepout in keepouts:
        for _ in range(_OBJECT_TRIES):
            point = _draw(world.extent - keepout, rng)
            if _is_free(point, keepout, placed, keepouts):
                break
        else:
            return None
        placed.append(point)
    return placed


def _draw(reach: float, rng: np.random.RandomState) -> Point:
    return -reach + 2.0 * reach * rng.random_sample(), -reach + 2.0 * reach * rng.random_sample()


def _is_free(point: Point, keepout: float, others: list[Point], keepouts: list[float]) -> bool:
    x, y = point
    for (other_x, other_y), other_keepout in zip(others, keepouts, strict=False):
        if math.sqrt((x - other_x) ** 2 + (y - other_y) ** 2) < other_keepout + keepout:
            return False
    return True


def build_model(world: GoalWorld) -> mujoco.MjModel:
    """The model with all objects at the origin; `place` puts them somewhere."""
    path = os.path.join(package_folder("safety_gymnasium"), "assets", "xmls", "car.xml")
    root = ElementTree.parse(path).getroot()
    _add_scenery(root)
    worldbody = _child(root, "worldbody")
    for index in range(world.vases):
        _add_vase(worldbody, f"vase{index}")
    _add_disc(worldbody, "goal", (GOAL_RADIUS, GOAL_RADIUS / 2), GOAL_RADIUS / 2 + 1e-2, "0 1 0 0.25", group=9)
    for index in range(world.hazards):
        _add_disc(worldbody, f"hazard{index}", (HAZARD_RADIUS, 1e-2), 2e-2, "0 0 1 0.25", group=3)
    sensors = _child(root, "sensor")
    for name in _UNUSED_SENSORS:
        sensors.remove(_child(sensors, name))
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))


def _child(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    element = parent.find(tag)
    assert element is not None, f"car.xml of safety-gymnasium 1.0.0 has <{tag}>"
    return element


def _add_scenery(root: ElementTree.Element) -> None:
    """Upstream's floor and light; a plain sky in place of its large pictures of stars."""
    worldbody = _child(root, "worldbody")
    _child(worldbody, "geom").attrib.update(size="3.5 3.5 0.1", rgba="1 1 1 1", material="matplane")
    light = {"cutoff": "100", "diffuse": "1 1 1", "dir": "0 0 -1", "directional": "true", "exponent": "1"}
    ElementTree.SubElement(worldbody, "light", light, pos="0 0 0.5", specular="0 0 0", castshadow="false")
    asset = ElementTree.SubElement(root, "asset")
    sky = {"type": "skybox", "builtin": "gradient", "width": "64", "height": "64"}
    ElementTree.SubElement(asset, "texture", sky, rgb1=".4 .5 .6", rgb2="0 0 0")
    floor = {"name": "matplane", "builtin": "checker", "type": "2d", "width": "100", "height": "100"}
    ElementTree.SubElement(asset, "texture", floor, rgb1="0.859 0.843 0.765", rgb2="0.949 0.914 0.855")
    material = {"name": "matplane", "texture": "matplane", "texrepeat": "10 10"}
    ElementTree.SubElement(asset, "material", material, reflectance="0.1", shininess="0.1", specular="0.1")


def _add_vase(worldbody: ElementTree.Element, name: str) -> None:
    height = VASE_SIZE - 4e-5  # upstream lets it sink into the floor by what the soft contact would
    body = ElementTree.SubElement(worldbody, "body", name=name, pos=f"0 0 {height!r}")
    ElementTree.SubElement(body, "freejoint", name=name)
    size = " ".join([repr(VASE_SIZE)] * 3)
    ElementTree.SubElement(body, "geom", name=name, type="box", size=size, density="0.001", rgba="0 1 1 1", group="4")


def _add_disc(
    worldbody: ElementTree.Element, name: str, size: tuple[float, float], height: float, rgba: str, group: int
) -> None:
    """A disc that things pass through; `size` is radius and half the thickness."""
    body = ElementTree.SubElement(worldbody, "body", name=name, pos=f"0 0 {height!r}")
    geom = {"name": name, "type": "cylinder", "size": f"{size[0]!r} {size[1]!r}", "rgba": rgba, "group": str(group)}
    ElementTree.SubElement(body, "geom", geom, contype="0", conaffinity="0")


def place(world: GoalWorld, model: mujoco.MjModel, data: mujoco.MjData, layout: Layout) -> None:
    """Put the objects where the layout says, as if the model had been compiled so, and reset `data`."""
    half = (0.5 * layout.rotations).tolist()
    quaternions = np.zeros((len(half), 4))
    quaternions[:, 0] = [math.cos(angle) for angle in half]  # NumPy's differ between CPUs
    quaternions[:, 3] = [math.sin(angle) for angle in half]
    quaternions /= np.sqrt(np.square(quaternions).sum(axis=1, keepdims=True))  # the compiler does so
    model.body_pos[world.bodies, :2] = layout.positions
    model.body_quat[world.bodies] = quaternions
    free = [AGENT, *range(world.first_vase, world.goal)]
    poses = np.concatenate((model.body_pos[free], model.body_quat[free]), axis=1)
    model.qpos0[:_FREE_JOINT] = poses[0]
    model.qpos0[_FREE_JOINT + _CAR_JOINTS :] = poses[1:].ravel()
    model.qpos_spring[:] = model.qpos0
    mujoco.mj_setConst(model, data)
    mujoco.mj_resetData(model, data)
