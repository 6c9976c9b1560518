"""The Bullet worlds of Bullet-Safety-Gym, built with direct engine calls.

Same models, parameters and order of calls as `bullet_safety_gym.envs` 1.4.0 (Gronauer, 2022, MIT licence), whose data
files are used; what is only seen (boundary lines, the circle, meshes) is loaded for pictures alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.packages import missing, package_folder


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the C library's chatter: whatever is written to file descriptors 1 and 2 meanwhile is dropped."""
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        yield
    finally:
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(null)


try:
    with quiet():  # it prints its build time
        import pybullet
except ModuleNotFoundError as error:
    raise missing("pybullet") from error

GROUND = 0  # body id of the plane, the first body loaded
WIDTH, HEIGHT = 480, 360  # of pictures, in pixels
GEARS = (  # of the race car's two differentials: parent link, child link, ratio, auxiliary link
    (9, 11, 1, None),
    (10, 13, -1, None),
    (9, 13, -1, None),
    (16, 18, 1, None),
    (16, 19, -1, None),
    (17, 19, -1, None),
    (1, 18, -1, 15),
    (3, 19, -1, 15),
)


@dataclass(frozen=True)
class Model:
    """An agent's body: the file and how it is placed."""

    file: str
    height: float  # m, of the base at an episode's start
    yaw: float = 0.0  # rad
    scaling: float = 1.0


@dataclass(frozen=True)
class Camera:
    """Where pictures are taken from."""

    target: tuple[float, float, float]  # m, from the agent where the camera follows it
    follows: bool
    distance: float  # m
    yaw: float  # degrees
    pitch: float


@dataclass(frozen=True)
class Scene:
    """A ground, walls and the parameters of the physics; `frame_skip` substeps of `time_step` seconds make one step."""

    plane: str
    walls: int
    time_step: float
    frame_skip: int
    camera: Camera
    lines: tuple[tuple[float, float], ...]  # (x, y) of the safety boundaries, only seen
    lines_yaw: float = 0.0
    circle: bool = False  # a disc on the ground, only seen


BALL = Model("robots/ball/ball.urdf", height=0.5)
RACE_CAR = Model("robots/racecar/racecar_differential.urdf", height=0.2, yaw=math.pi, scaling=3.0)
ANT = Model("robots/mujoco/ant.xml", height=0.75)
DRONE = Model("robots/quadcopter/quadcopter.urdf", height=0.17, scaling=2.0)


def run_scene(frame_skip: int) -> Scene:
    """A straight track of width 4 m along x."""
    camera = Camera((3.0, 0.0, 1.7), follows=True, distance=2.5, yaw=90.0, pitch=-50.0)
    lines = ((11.0, -2.0), (11.0, 2.0))
    return Scene("plane/plane250.urdf", 0, 1 / 120, frame_skip, camera, lines, lines_yaw=0.5 * math.pi)


def circle_scene() -> Scene:
    """An octagon with a circle of radius 7 m and boundaries at x = -6 m and 6 m."""
    camera = Camera((0.0, -1.5, 0.0), follows=False, distance=21.0, yaw=0.0, pitch=-60.0)
    return Scene("plane/plane15.urdf", 8, 1 / 60, 6, camera, ((-6.0, 0.0), (6.0, 0.0)), circle=True)


@dataclass(frozen=True)
class World:
    """One engine instance with a scene and an agent in it."""

    client: int
    agent: int  # body id

    def close(self) -> None:
        """Free the instance."""
        pybullet.disconnect(self.client)


def build_world(scene: Scene, model: Model, *, visible: bool = False) -> World:
    """A new engine instance; with `visible`, for pictures, meshes and markings are loaded too.

    Raises:
        RuntimeError: the engine gives no further instance (it has room for about 1,000 per process).
    """
    with quiet():
        client = pybullet.connect(pybullet.DIRECT)
        if client < 0:
            raise RuntimeError("Bullet gives no further instance: about 1,000 per process is its limit; close some")
        _set_physics(client, scene)
        _load_scene(client, scene, visible)
        agent = _load_agent(client, model, visible)
        if visible:
            _load_markings(client, scene)
    return World(client, agent)


def pose(world: World) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Position (m) and quaternion of the agent's base."""
    return pybullet.getBasePositionAndOrientation(world.agent, world.client)


def forget_contacts(world: World) -> None:
    """Drop the engine's contact points, which restoring a state keeps where the agent is near its old place.

    Contacts die when the agent is nowhere near anything.
    """
    pybullet.resetBasePositionAndOrientation(world.agent, (0, 0, 1000), (0, 0, 0, 1), world.client)
    pybullet.performCollisionDetection(world.client)


def copy_pose(source: World, target: World) -> None:
    """Bring the agent of `target` into the pose of that of `source`, joints included."""
    pybullet.resetBasePositionAndOrientation(target.agent, *pose(source), target.client)
    for joint in range(pybullet.getNumJoints(source.agent, source.client)):
        angle = pybullet.getJointState(source.agent, joint, source.client)[0]
        pybullet.resetJointState(target.agent, joint, angle, physicsClientId=target.client)


def picture(world: World, camera: Camera) -> NDArray[np.uint8]:
    """What the camera sees [360, 480, 3], drawn in software."""
    place = pose(world)[0] if camera.follows else (0, 0, 0)
    target = np.add(camera.target, place).tolist()
    view = pybullet.computeViewMatrixFromYawPitchRoll(target, camera.distance, camera.yaw, camera.pitch, 0, 2)
    lens = pybullet.computeProjectionMatrixFOV(fov=60, aspect=WIDTH / HEIGHT, nearVal=0.1, farVal=100.0)
    image = pybullet.getCameraImage(
        WIDTH, HEIGHT, view, lens, renderer=pybullet.ER_TINY_RENDERER, physicsClientId=world.client
    )
    return np.array(image[2], dtype=np.uint8).reshape(HEIGHT, WIDTH, 4)[:, :, :3]


def _set_physics(client: int, scene: Scene) -> None:
    pybullet.setAdditionalSearchPath(str(_data_folder()), physicsClientId=client)
    pybullet.setPhysicsEngineParameter(
        fixedTimeStep=scene.time_step * scene.frame_skip,
        numSolverIterations=5,
        deterministicOverlappingPairs=1,
        numSubSteps=scene.frame_skip,
        physicsClientId=client,
    )
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    pybullet.setDefaultContactERP(0.9, physicsClientId=client)


def _load_scene(client: int, scene: Scene, visible: bool) -> None:
    _load(client, scene.plane, visible)
    pybullet.changeDynamics(GROUND, -1, lateralFriction=0.8, restitution=0.5, physicsClientId=client)
    for wall in range(scene.walls):
        turn = pybullet.getQuaternionFromEuler([0, 0, 2 * math.pi * wall / scene.walls])
        _load(client, "obstacles/octagon_wall.urdf", visible, useFixedBase=True, baseOrientation=turn)


def _load_agent(client: int, model: Model, visible: bool) -> int:
    turn = pybullet.getQuaternionFromEuler([0, 0, model.yaw])
    place = [0, 0, model.height]
    if model is ANT:
        agent = _load_ant(client)
    else:
        agent = _load(
            client, model.file, visible, basePosition=place, baseOrientation=turn, globalScaling=model.scaling
        )
    for joint in range(pybullet.getNumJoints(agent, client)):
        release_motor(client, agent, joint)
    if model is RACE_CAR:
        _add_gears(client, agent)
    if model is DRONE:
        for rotor in range(1, 5):  # Bullet clamps joint speeds to 100 rad/s by default
            pybullet.changeDynamics(agent, rotor, maxJointVelocity=1000, physicsClientId=client)
    return agent


def _load_ant(client: int) -> int:
    """Of a MuJoCo file, which says itself where the torso is."""
    flags = pybullet.URDF_USE_SELF_COLLISION | pybullet.URDF_USE_SELF_COLLISION_EXCLUDE_ALL_PARENTS
    return pybullet.loadMJCF(str(_data_folder() / ANT.file), flags=flags, physicsClientId=client)[0]


def release_motor(client: int, agent: int, joint: int) -> None:
    """Take a joint's motor out of use; the engine gives every joint one that brakes."""
    pybullet.setJointMotorControl2(
        agent, joint, pybullet.VELOCITY_CONTROL, targetVelocity=0, force=0, physicsClientId=client
    )


def _add_gears(client: int, car: int) -> None:
    for parent, child, ratio, auxiliary in GEARS:
        gear = pybullet.createConstraint(
            car, parent, car, child, pybullet.JOINT_GEAR, [0, 1, 0], [0, 0, 0], [0, 0, 0], physicsClientId=client
        )
        options = {} if auxiliary is None else {"gearAuxLink": auxiliary}
        pybullet.changeConstraint(gear, gearRatio=ratio, maxForce=10000, physicsClientId=client, **options)


def _load_markings(client: int, scene: Scene) -> None:
    turn = pybullet.getQuaternionFromEuler([0, 0, scene.lines_yaw])
    for x, y in scene.lines:
        place = {"basePosition": [x, y, 0], "baseOrientation": turn}
        _load(client, "obstacles/line_boundary.urdf", True, useFixedBase=True, **place)
    if scene.circle:
        disc = _load(client, "obstacles/circle_zone.urdf", True, useFixedBase=True)
        pybullet.changeVisualShape(disc, -1, rgbaColor=(0.6, 0.7, 0.95, 1.0), physicsClientId=client)


def _load(client: int, file: str, visible: bool, **options: object) -> int:
    flags = 0 if visible else pybullet.URDF_IGNORE_VISUAL_SHAPES
    return pybullet.loadURDF(file, flags=flags, physicsClientId=client, **options)


def _data_folder() -> Path:
    """Where bullet_safety_gym keeps its models (the package itself is not imported)."""
    return Path(package_folder("bullet_safety_gym")) / "envs" / "data"
