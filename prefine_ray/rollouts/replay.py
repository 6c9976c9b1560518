"""Pictures of a stored episode: its reset seed and its actions, replayed in the simulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.rollouts.video import with_text
from prefine_ray.simulators import make_env
from prefine_ray.tasks.spec import Task

_TOLERANCE = 1e-3  # of an observation, relative to its size where that is above 1


class ReplayError(PrefineError, ValueError):
    """A stored episode cannot be replayed; the message says why, and what to do instead."""


def check_seeds(seeds: object | None) -> None:
    """Raises ReplayError where a data set has no reset seeds."""
    if seeds is None:
        raise ReplayError("the data have no reset seeds, so that no episode can be replayed; give videos with --videos")


def replay(
    task: Task, episode: Trajectories, most_frames: int, threshold: float | None = None
) -> list[NDArray[np.uint8]]:
    """Draws a stored episode, step for step what was stored.

    Args:
        task: the task.
        episode: one episode with its reset seed.
        most_frames: longer episodes skip steps between pictures.
        threshold: None for pictures without a word; else return and cost stand in them, as in `prefine render`.

    Returns:
        The pictures, [height, width, 3] each, the last one of the last step.

    Raises:
        ReplayError: there is no reset seed, or the simulator gives other observations than those stored.
        RenderingUnavailableError: there is no GL backend.
    """
    check_seeds(episode.seeds)
    assert episode.seeds is not None
    env = make_env(task, render_mode="rgb_array")
    try:
        env.reset(seed=int(episode.seeds[0]))
        every, frames = -(-len(episode.actions) // most_frames), list[NDArray[np.uint8]]()
        total_reward = total_cost = 0.0
        for step, action in enumerate(episode.actions):
            observation, reward, *_, info = env.step(action)
            total_reward, total_cost = total_reward + reward, total_cost + info["cost"]
            _check(step, observation, episode.next_observations[step])
            if (step + 1) % every == 0 or step == len(episode.actions) - 1:
                picture = env.render()
                assert picture is not None  # in render mode rgb_array
                if threshold is not None:
                    text = f"step {step + 1}   return {total_reward:.1f}   cost {total_cost:.0f} / {threshold:g}"
                    picture = with_text(picture, text, info["cost"] > 0, total_cost > threshold)
                frames.append(picture)
        return frames
    finally:
        env.close()


def _check(step: int, found: NDArray[np.float32], stored: NDArray[np.float32]) -> None:
    off = np.abs(found - stored) / np.maximum(1.0, np.abs(stored))
    if not off.max() <= _TOLERANCE:
        raise ReplayError(
            f"step {step + 1}: the simulator gives an observation that is {off.max():.2g} off the stored one, so this "
            "episode is of other physics than these or of a reused simulator; give videos with --videos"
        )
