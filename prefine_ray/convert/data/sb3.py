"""Stable-Baselines3: what `save_replay_buffer` wrote, a pickle without costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prefine_ray.convert.data.source import DataImportError, Episode, Source
from prefine_ray.convert.state import WHY, unpickle
from prefine_ray.core.files import read_bytes


def read(path: Path, trust: bool) -> Source:
    """The whole episodes of a replay buffer; its actions are in [-1, 1] already.

    Raises:
        DataImportError: it is not trusted, or none.
    """
    if not trust:
        raise DataImportError(f"{path}: Stable-Baselines3 saves a replay buffer as a pickle, which is refused: {WHY}")
    try:
        buffer = unpickle(read_bytes(path))
        steps = _steps(buffer)
    except Exception as error:  # whatever the author's code raises
        raise DataImportError(f"{path}: not a replay buffer that can be read here ({error})") from error
    episodes, left_out = list[Episode](), 0
    for copy in range(steps["actions"].shape[1]):
        found, rest = _episodes({key: value[:, copy] for key, value in steps.items()}, bool(buffer.full))
        episodes += found
        left_out += rest
    if not episodes:
        raise DataImportError(f"{path}: holds no whole episode; a larger buffer_size keeps some")
    notes = [f"{left_out} steps of episodes that are not whole are left out"] if left_out else []
    return Source(episodes, has_costs=False, notes=notes)


def _steps(buffer: Any) -> dict[str, Any]:
    """Arrays [steps, copies, ...], the oldest step first."""
    size = len(buffer.observations) if buffer.full else buffer.pos
    order = np.roll(np.arange(size), -buffer.pos) if buffer.full else np.arange(size)
    names = ("observations", "actions", "rewards", "dones", "timeouts")
    steps = {name: getattr(buffer, name)[order] for name in names}
    if getattr(buffer, "next_observations", None) is None:  # optimize_memory_usage: they are the next rows
        steps["next_observations"] = buffer.observations[(order + 1) % len(buffer.observations)]
    else:
        steps["next_observations"] = buffer.next_observations[order]
    return steps


def _episodes(steps: dict[str, Any], cut: bool) -> tuple[list[Episode], int]:
    """Of one copy; with `cut`, its first one may have lost its beginning. And how many steps belong to none."""
    ends = np.flatnonzero(steps["dones"] > 0)
    bounds = list(zip([0, *(ends[:-1] + 1)], ends + 1, strict=True)) if len(ends) else []
    whole = bounds[1:] if cut else bounds
    names = ("observations", "next_observations", "actions", "rewards")
    episodes = [
        {
            **{name: steps[name][start:end].reshape(end - start, -1) for name in names[:3]},
            "rewards": steps["rewards"][start:end],
            "terminated": not steps["timeouts"][end - 1],
        }
        for start, end in whole
    ]
    return list(episodes), len(steps["dones"]) - sum(end - start for start, end in whole)
