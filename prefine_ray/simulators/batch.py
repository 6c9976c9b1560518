"""What every simulator offers: a batch of copies of one task, stepped together."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefine_ray.tasks.spec import Task, get_task


class BatchStep(NamedTuple):
    """What one step of a batch of N copies gives. Rows of copies that were not stepped are unspecified but finite."""

    observations: NDArray[np.float32]  # [N, obs_dim], a fresh array: the caller may keep it
    rewards: NDArray[np.float64]  # [N]
    costs: NDArray[np.float64]  # [N]
    terminated: NDArray[np.bool_]  # [N], ended by a fall; time limits are the caller's
    truncated: NDArray[np.bool_] | None = None  # [N], ended early by an own task's environment; None: none was


class SimulatorBatch(Protocol):
    """N independent copies of a task.

    An episode depends on its seed and its actions only: not on N, nor on the copy that runs it, nor on what ran before.
    """

    num_envs: int

    def reset(self, index: int, seed: int) -> NDArray[np.float32]:
        """Start the episode `seed` (0 to 2**32 - 1) in copy `index`; its first observation [obs_dim]."""

    def step(self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None) -> BatchStep:
        """Step the copies marked in `active` [N] (default: all) with `actions` [N, act_dim], clipped to [-1, 1].

        Raises:
            ValueError: `actions` has another shape, or an active row holds a NaN.
        """

    def render(self, index: int) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of copy `index`, drawn without a display."""

    def close(self) -> None:
        """Free the engine; closing twice is allowed."""


def clipped_actions(
    actions: NDArray[np.floating], shape: tuple[int, int], active: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """The actions [N, act_dim] as float64 in [-1, 1]; rows that are not active become 0.

    Raises:
        ValueError: `actions` is not of `shape`, or an active row holds a NaN.
    """
    values = np.asarray(actions, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"actions have shape {values.shape}; this simulator takes {shape} (copies, action dimensions)")
    values = np.minimum(np.maximum(values, -1.0), 1.0)
    if active is not None and not active.all():
        values[~active] = 0.0
    if np.isnan(values.sum()):
        rows = np.flatnonzero(np.isnan(values).any(axis=1)).tolist()
        raise ValueError(f"actions of copies {rows} hold NaN; has the policy diverged?")
    return values


def carries_over(task: str | Task) -> bool:
    """Whether upstream's environment carries anything over from one episode to the next: those of Bullet do."""
    return get_task(task).suite == "bullet"


def make_batch(task: str | Task, num_envs: int, carry_over: bool = False, pictures: bool = False) -> SimulatorBatch:
    """`num_envs` copies of a task; the physics engine is imported here, only the one that the task needs.

    Args:
        task: a task or its name.
        num_envs: how many copies.
        carry_over: let a copy's episodes start with what upstream's environments carry over from the episode before
            (see `BulletBatch`). Only those of the Bullet tasks do.
        pictures: whether `render` is wanted; own tasks need to know, the others can always draw.

    Raises:
        UnknownTaskError: no task has this name.
        OwnTaskError: an own task has no environment, or one that is refused.
        ValueError: `num_envs` is less than 1.
    """
    task = get_task(task)
    if num_envs < 1:
        raise ValueError(f"num_envs is {num_envs}; a batch needs at least 1 copy")
    if task.suite == "own":
        from prefine_ray.simulators.own_tasks.batch import GymnasiumBatch

        return GymnasiumBatch(task, num_envs, pictures)
    if task.suite == "bullet":
        from prefine_ray.simulators.bullet import BulletBatch

        return BulletBatch(task, num_envs, carry_over)
    if task.velocity_threshold is not None:
        from prefine_ray.simulators.velocity import VelocityBatch

        return VelocityBatch(task, num_envs)
    from prefine_ray.simulators.goal import WORLDS, GoalBatch

    if task.name in WORLDS:
        return GoalBatch(task, num_envs)
    from prefine_ray.simulators.navigation.batch import NavigationBatch

    return NavigationBatch(task, num_envs)
