"""Converts foreign data sets to a DSRL file of a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from prefine_ray.convert.data import flat, minari, sb3
from prefine_ray.convert.data.source import DataImportError, Episode, Source
from prefine_ray.core.files import atomic_path, file_digest
from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, write_dsrl
from prefine_ray.data.trajectories import EpisodeError, Trajectories
from prefine_ray.tasks.spec import Task

SOURCES = ("minari", "d4rl", "npz", "sb3")
NO_COST = "none"  # the attribute `costs` of a file without costs
_SLACK = 1e-3  # by which actions may be out of their box, in its half width


@dataclass(frozen=True)
class Converted:
    """What was written."""

    trajectories: Trajectories
    source: str  # one of SOURCES
    notes: list[str] = field(default_factory=list)


def detect(source: str) -> str:
    """Which kind of data set it is.

    Raises:
        DataImportError: there is none, or nothing is known of it.
    """
    path = Path(source)
    if minari.find(source) is not None:
        return "minari"
    if not path.exists():
        raise DataImportError(f"{source}: no such file or folder, nor an id of Minari's local data sets")
    if path.is_file() and h5py.is_hdf5(path):
        return "d4rl"
    if path.suffix in (".npz", ".pkl"):
        return {".npz": "npz", ".pkl": "sb3"}[path.suffix]
    raise DataImportError(f"{source}: of no kind that is known; say which with --from {'|'.join(SOURCES)}")


def convert(
    source: str,
    output: Path,
    task: Task,
    kind: str | None = None,
    *,
    no_cost: bool = False,
    trust: bool = False,
    action_range: tuple[float, float] | None = None,
) -> Converted:
    """Writes the episodes of a foreign data set as a DSRL file.

    Args:
        source: a file, a folder, or an id of Minari.
        output: the file to write.
        task: what the data are of.
        kind: one of `SOURCES`; None: found out.
        no_cost: the data have no costs, and labels will tell safe episodes from others.
        trust: whether a pickle is unpickled, which runs code from it.
        action_range: the limits of every action in the data; None: as the data say, else -1 and 1.

    Raises:
        DataImportError: it cannot be read, is inconsistent, or is not of this task.
    """
    chosen = kind or detect(source)
    found = _read(chosen, source, trust)
    if not found.has_costs and not no_cost:
        raise DataImportError(
            f"{source}: has no costs (info['cost'] of each step); add them, or give --no-cost and use labels"
        )
    try:
        episodes = [_scaled(episode, number, found, action_range) for number, episode in enumerate(found.episodes)]
        trajectories = Trajectories.from_episodes(episodes, no_cost=no_cost)
    except EpisodeError as error:
        raise DataImportError(f"{source}: {error}") from None
    _check_sizes(trajectories, task, source)
    notes = list(found.notes)
    if not found.has_costs:
        notes.append("there are no costs: all are 0, a threshold says nothing, only labels do (preferred: labels)")
    _write(trajectories, output, task, source, chosen, has_costs=found.has_costs)
    return Converted(trajectories, chosen, notes)


def _read(kind: str, source: str, trust: bool) -> Source:
    path = Path(source)
    if kind == "minari":
        folder = minari.find(source)
        if folder is None:
            raise DataImportError(f"{source}: no data set of Minari (metadata.json), nor an id of a local one")
        return minari.read(folder)
    if not path.is_file():
        raise DataImportError(f"{source}: there is no such file")
    if kind == "sb3":
        return sb3.read(path, trust)
    return flat.read_hdf5(path) if kind == "d4rl" else flat.read_npz(path)


def _scaled(episode: Episode, number: int, source: Source, action_range: tuple[float, float] | None) -> dict[str, Any]:
    """The episode with its actions in [-1, 1]."""
    low, high = source.action_box if source.action_box and not action_range else action_range or (-1.0, 1.0)
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise EpisodeError("the actions have no limits; give them as --action-range LOW HIGH")
    actions = np.asarray(episode["actions"], dtype=np.float64)
    if actions.ndim != 2 or (low.ndim and len(low) != actions.shape[1]):
        raise EpisodeError(f"episode {number}: actions has shape {actions.shape}, not (steps, size)")
    scaled = 2.0 * (actions - low) / (high - low) - 1.0
    if (np.abs(scaled) > 1 + _SLACK).any():
        odd = actions.flat[np.abs(scaled).argmax()]
        raise EpisodeError(f"episode {number}: an action is {odd:g}, outside of its box; give --action-range LOW HIGH")
    as_they_are = (low == -1).all() and (high == 1).all()
    return {**episode, "actions": (actions if as_they_are else scaled).clip(-1.0, 1.0)}


def _check_sizes(trajectories: Trajectories, task: Task, source: str) -> None:
    sizes = trajectories.observations.shape[1], trajectories.actions.shape[1]
    if sizes != (task.obs_dim, task.act_dim):
        raise DataImportError(
            f"{source}: has {sizes[0]} observations and {sizes[1]} actions; {task.name} has {task.obs_dim} and "
            f"{task.act_dim}"
        )


def _write(trajectories: Trajectories, output: Path, task: Task, source: str, kind: str, *, has_costs: bool) -> None:
    """Writes the file if it is one of the task."""
    attrs = {"source": Path(source).name, "source_kind": kind, "task": task.name}
    if Path(source).is_file():
        attrs["source_sha256"] = file_digest(source)
    if not has_costs:
        attrs["costs"] = NO_COST
    with atomic_path(output) as temporary:
        write_dsrl(temporary, trajectories, attrs)
        try:
            check_dsrl(temporary, task)
        except TrajectoryFileError as error:
            raise DataImportError(str(error).replace(str(temporary), source)) from None
