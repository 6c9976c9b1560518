"""Flat arrays over steps: D4RL's HDF5 files, and .npz files with the same names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefine_ray.convert.data.source import DataImportError, Episode, Source
from prefine_ray.core.files import read_bytes
from prefine_ray.data.hdf5_storage import read_stored

_NAMES = {  # what is read, under the first of these names that is there
    "observations": ("observations", "obs"),
    "next_observations": ("next_observations", "next_obs"),
    "actions": ("actions", "acts"),
    "rewards": ("rewards",),
    "costs": ("costs", "cost", "infos/cost", "infos/costs"),
    "terminals": ("terminals", "terminations", "terminated"),
    "timeouts": ("timeouts", "truncations", "truncated"),
}
_NEEDED = ("observations", "actions", "rewards", "terminals")


def read_hdf5(path: Path) -> Source:
    """The episodes of a file in D4RL's layout.

    Raises:
        DataImportError: it is none.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: read_stored(file, name) for name in _names(file, path)}
    except (OSError, RuntimeError, KeyError, MemoryError) as error:
        raise DataImportError(f"{path}: not a whole HDF5 file ({error})") from None
    return _split(arrays, path)


def read_npz(path: Path) -> Source:
    """The same from an .npz file; one with pickled objects is refused.

    Raises:
        DataImportError: it is none.
    """
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _names(file, path)}
    except DataImportError:
        raise
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataImportError(f"{path}: not an .npz file of plain arrays ({error})") from None
    return _split(arrays, path)


def _names(file: Any, path: Path) -> list[str]:
    """The names in the file that are read."""
    found = [next((name for name in names if name in file), None) for names in _NAMES.values()]
    if missing := [key for key, name in zip(_NAMES, found, strict=True) if name is None and key in _NEEDED]:
        raise DataImportError(f"{path}: has no {missing[0]}; it has {', '.join(list(file)[:12]) or 'nothing'}")
    return [name for name in found if name is not None]


def _split(arrays: dict[str, NDArray[Any]], path: Path) -> Source:
    """Episodes end where terminals or timeouts is 1."""
    steps = {key: arrays[name] for key, names in _NAMES.items() for name in names if name in arrays}
    count = len(steps["actions"])
    if odd := [key for key, value in steps.items() if value.ndim == 0 or len(value) != count]:
        raise DataImportError(f"{path}: {odd[0]} has shape {steps[odd[0]].shape}, and there are {count} actions")
    if "timeouts" not in steps:
        raise DataImportError(
            f"{path}: has no timeouts; add them, 1 in the last step of each episode that the time limit ended"
        )
    flags = [steps.pop(key).reshape(-1) for key in ("terminals", "timeouts")]
    terminals, timeouts = (values.astype(bool) for values in flags)
    ends = np.flatnonzero(terminals | timeouts)
    if len(ends) == 0:
        raise DataImportError(f"{path}: marks no end of an episode; the last step of each needs a 1 in timeouts")
    notes = []
    if count > ends[-1] + 1:
        notes.append(f"the last {count - ends[-1] - 1} steps end no episode and are left out")
    if "next_observations" not in steps:
        notes.append(
            "there are no next_observations: the successor of an episode's last step is unknown, and is set to that "
            "step's own observation"
        )
    episodes = []
    for start, end in zip([0, *(ends[:-1] + 1)], ends + 1, strict=True):
        part = {key: value[start:end] for key, value in steps.items()}
        episodes.append(_episode(part, bool(terminals[end - 1])))
    return Source(episodes, "costs" in steps, notes=notes)


def _episode(part: dict[str, NDArray[Any]], terminated: bool) -> Episode:
    if "next_observations" not in part:
        observations = part["observations"]
        part["next_observations"] = np.concatenate([observations[1:], observations[-1:]])
    return {**part, "terminated": terminated}
