"""How each task is pretrained: sizes, schedules, and the quantities that its cost limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.pretrain.controllers import Gait, Orbit, Seek, Sprint
from prefine_ray.tasks.spec import Task, get_task

HIDDEN = (64, 64)  # units of policy and critic, unless a recipe says otherwise


@dataclass(frozen=True)
class Limit:
    """A quantity of the observation that the task's cost limits, e.g. the forward speed.

    The cost itself is 0 or 1 per step and says nothing of how far the limit is; this does, and so gives the
    penalty a slope.
    """

    columns: tuple[int, ...]  # of the observation
    limit: float  # in units of the observation: beyond it a step costs 1
    reduce: Literal["norm", "largest"] = "norm"
    width: float = 1.0  # share of the limit that counts as one unit of excess

    def excess(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far beyond the limit (negative: within it), in units of `width`. [..., obs_dim] -> [...]."""
        part = observations[..., list(self.columns)].astype(np.float64)
        size = np.linalg.norm(part, axis=-1) if self.reduce == "norm" else part.max(axis=-1)
        return (size / self.limit - 1.0) / self.width


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one task's pretraining."""

    steps: int  # environment steps in all
    limits: tuple[Limit, ...]
    num_envs: int = 32  # copies stepped together
    rollout_length: int = 256  # steps of each copy per iteration
    hidden: tuple[int, int] = HIDDEN  # units of policy and critic
    # What is searched for and cloned before PPO begins (`pretrain_start`).
    start: Gait | Orbit | Seek | Sprint | None = None
    start_limits: tuple[float, ...] = ()  # on the episode cost, falling: for each, a start is searched and saved
    other_starts: tuple[Seek, ...] = ()  # cloned and saved before it
    generations: int = 20  # of the search
    imitation_rounds: int = 1  # of cloning the controller; from the second on, at the states of the clone too
    start_log_std: float = -1.5  # of the cloned policy's actions
    guided_share: float = 0.0  # share of the steps, at the start of phase 1, that punish excess over the limits
    guide: float = 1.0  # reward lost there per unit of excess
    reward_share: float = 0.3  # share of the steps for phase 1 (otherwise reward only)
    gamma: float = 0.99
    gae_lambda: float = 0.95
    learning_rate: float = 3e-4
    entropy: float = 0.0
    epochs: int = 8
    minibatch: int = 1024
    slope: float = 3.0  # penalty per unit of excess over the cap, in units of the base's reward per step
    cost_weight: float = 0.5  # penalty per unit of cost, same unit
    cap_rate: float = 0.015  # how fast the cap moves, per iteration
    lowest_cap: float = -0.4  # there the cap stops, and the penalty begins to grow
    fixed_cap: bool = False  # phase 2 holds the cap there from its beginning; only the penalty grows and shrinks
    sprint: bool = False  # phase 2 leaves the last steps of an episode free, as many as the limit on the cost allows
    last_limit: float = 0.25  # the lowest limit on the episode cost, as a share of the strictest threshold
    largest_gain: float = 100.0  # of the penalty

    def excess(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """The largest excess over the task's limits. [..., obs_dim] -> [...]."""
        return np.max([limit.excess(observations) for limit in self.limits], axis=0)


def _speed(column: int, task: str) -> tuple[Limit, ...]:
    """The forward speed is one column of the observation."""
    threshold = get_task(task).velocity_threshold
    assert threshold is not None
    return (Limit((column,), threshold),)


def _run(
    speed_limit: float, speed_columns: tuple[int, int], speed_scale: float, width: float = 1.0
) -> tuple[Limit, ...]:
    """Bullet Run: speed in the plane, and a corridor |y| < 2 (observed as 0.1 y)."""
    return (Limit(speed_columns, speed_limit * speed_scale, width=width), Limit((1,), 0.2, width=width))


_CIRCLE = (Limit((0,), 0.6, width=0.2),)  # |x| < 6, observed as 0.1 x
# Lidar of the hazards: 1 - distance / 3 of the nearest one in each direction; a hazard's radius is 0.2.
_HAZARD = (Limit(tuple(range(40, 56)), 0.9333, "largest", width=0.1),)


def _slow(steps: int, limits: tuple[Limit, ...], rollout_length: int, **other: Any) -> Recipe:
    """Where a simulator step costs more than learning from it: smaller batches, more updates on each."""
    recipe = Recipe(steps, limits, 16, rollout_length, epochs=10, minibatch=512, cap_rate=0.03)
    return replace(recipe, **other)


def _seek(speed: float, weight: float, reach: float, brake: float, sharpness: float = 1.85) -> Seek:
    """The other parameters are those that a search found: 12 generations, a price of 0.15 per step of cost."""
    parameters = (speed, weight, sharpness, reach, 1.8, 0.0, 1.6, brake)
    return Seek(
        goal=24, hazards=40, velocity=(3, 4), yaw_rate=8, front=-np.pi / 2, prior=(parameters, (0.0,) * len(parameters))
    )


RECIPES: dict[str, Recipe] = {
    "CarRun": _slow(500_000, _run(1.5, (2, 3), 1.0, width=0.2), 200, reward_share=0.15, slope=1.0, last_limit=0.5),
    "BallRun": Recipe(
        3_000_000,
        _run(2.5, (2, 3), 0.2),
        start=Sprint(place=(0, 1), velocity=(2, 3), place_scale=0.1, velocity_scale=0.2),
        start_limits=(80, 60, 50, 38, 28, 18, 9, 4),
        rollout_length=100,
        reward_share=0.03,
        gae_lambda=1.0,
        cost_weight=0.5,
        cap_rate=0.02,
        lowest_cap=0.0,
        fixed_cap=True,
        sprint=True,
        last_limit=0.5,
    ),
    "DroneRun": Recipe(3_000_000, _run(1.5, (3, 4), 0.2), rollout_length=200, cap_rate=0.02),
    "BallCircle": Recipe(
        800_000,
        _CIRCLE,
        start=Orbit(place=(0, 1), velocity=(2, 3), place_scale=0.1, velocity_scale=0.2),
        generations=10,
        rollout_length=200,
        guide=3.0,
        reward_share=0.05,
        cap_rate=0.03,
        last_limit=0.5,
        largest_gain=10.0,
    ),
    "CarCircle": _slow(800_000, _CIRCLE, 300),
    "AntVelocity": Recipe(3_000_000, (Limit((13, 14), 2.6222),), rollout_length=128),
    "HalfCheetahVelocity": Recipe(5_000_000, _speed(8, "HalfCheetahVelocity")),
    "HopperVelocity": Recipe(3_000_000, _speed(5, "HopperVelocity"), rollout_length=128),
    "SwimmerVelocity": Recipe(
        900_000,
        _speed(3, "SwimmerVelocity"),
        start=Gait(angles=(1, 2), speeds=(6, 7), step_s=0.04),
        guide=0.5,
        reward_share=0.08,
        gamma=0.995,
        gae_lambda=0.97,
        minibatch=512,
        slope=2.0,
        cap_rate=0.06,
        lowest_cap=0.0,
        fixed_cap=True,
        last_limit=0.5,
        largest_gain=20.0,
    ),
    "CarGoal1": _slow(
        1_000_000,
        _HAZARD,
        250,
        start=_seek(speed=0.93, weight=3.0, reach=0.25, brake=1.2, sharpness=3.0),
        other_starts=(
            _seek(speed=0.8, weight=3.0, reach=0.3, brake=1.3),
            _seek(speed=1.05, weight=3.0, reach=0.3, brake=1.3),
            _seek(speed=1.05, weight=2.0, reach=0.3, brake=1.2),
        ),
        generations=0,
        imitation_rounds=10,
        hidden=(256, 256),
        start_log_std=-2.0,
        guide=0.5,
        reward_share=0.1,
        slope=10.0,
        cost_weight=10.0,
    ),
    "CarGoal2": _slow(1_000_000, _HAZARD, 250, reward_share=0.25, slope=10.0, cost_weight=10.0),
    "Walker2dVelocity": Recipe(4_000_000, _speed(8, "Walker2dVelocity")),
}


class NoRecipeError(PrefineError, ValueError):
    """Nobody has written a recipe for a task, as for own ones."""


def recipe_for(task: str | Task) -> Recipe:
    """The recipe of a task.

    Raises:
        NoRecipeError: it has none.
    """
    name = get_task(task).name
    if name not in RECIPES:
        raise NoRecipeError(
            f"{name}: no recipe to pretrain with; train a policy elsewhere, or clone one from data (`prefine clone`)"
        )
    return RECIPES[name]
