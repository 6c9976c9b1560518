"""Upstream's environments of one episode each, and what makes their resets 10 to 60 times as fast.

An episode is bit for bit that of a fresh `safety_gymnasium.builder.Builder`:

- its files of textures are read once per process, and a plain sky stands in for 190 MB of stars;
- the draws of a layout are upstream's, the distances between its objects are computed without NumPy;
- nothing is drawn from NumPy's global random state, as upstream does for a seed that the reset replaces.
"""

from __future__ import annotations

import copy
import functools
import math
import sys
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import IO, Any

from prefine_ray.simulators.upstream import import_safety_gymnasium
from prefine_ray.tasks.spec import Task

_SKY = {
    "@type": "skybox",
    "@builtin": "gradient",
    "@width": "64",
    "@height": "64",
    "@rgb1": ".4 .5 .6",
    "@rgb2": "0 0 0",
}
_TRIES = 100  # positions of one object in a layout


def new_environment(task: Task) -> Any:
    """A new `Builder` of a task such as "PointGoal1"; time limits are the caller's.

    Raises:
        MissingSimulatorError: safety-gymnasium is not installed.
    """
    agent = "Point" if task.name.startswith("Point") else "Car"
    environment = _builder()(f"Safety{task.name}-v0", {"agent_name": agent})
    environment.task.num_steps = sys.maxsize
    generator = environment.task.random_generator
    generator.sample_layout = MethodType(_sample_layout, generator)
    return environment


@functools.cache
def _builder() -> Any:
    """Upstream's class, which seeds itself when it is made: with 0 here, instead of a random number."""
    world, builder = import_safety_gymnasium("world"), import_safety_gymnasium("builder")
    world.yaml = SimpleNamespace(load=functools.partial(_load, world.yaml), FullLoader=world.yaml.FullLoader)

    class Builder(builder.Builder):  # type: ignore[misc, name-defined]
        def set_seed(self, seed: int | None = None) -> None:
            super().set_seed(0 if seed is None else seed)

    return Builder


def _load(yaml: Any, file: IO[str], Loader: Any) -> Any:
    """In place of `yaml.load` in upstream's module `world`."""
    return copy.deepcopy(_assets(yaml, Path(file.name)))


@functools.cache
def _assets(yaml: Any, path: Path) -> Any:
    assets = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.FullLoader)
    assets["textures"]["skybox"] = _SKY
    return assets


def _sample_layout(generator: Any) -> bool:
    """In place of upstream's method: draw a layout; whether there was a free place for every object."""
    layout: dict[str, Any] = {}
    placed: list[tuple[float, float, float]] = []
    for name, (placements, keepout) in generator.placements.items():
        for _ in range(_TRIES):
            place = generator.draw_placement(placements, keepout)
            x, y = place.tolist()
            if all(
                math.sqrt((x - other_x) * (x - other_x) + (y - other_y) * (y - other_y)) >= distance + keepout
                for other_x, other_y, distance in placed
            ):
                break
        else:
            return False
        layout[name] = place
        placed.append((x, y, keepout + generator.placements_margin))
    generator.layout = layout
    return True
