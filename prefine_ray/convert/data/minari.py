"""Minari: a data set's folder, or its id among the local ones. The package itself is not needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefine_ray.convert.data.source import DataImportError, Episode, Source
from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.files import read_bytes
from prefine_ray.data.hdf5_storage import read_stored

_COSTS = ("infos/cost", "infos/costs", "infos/constraint_cost")


def find(source: str) -> Path | None:
    """The folder of a data set, given as a folder or an id; None where there is none."""
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").expanduser()
    for folder in (Path(source), root / source):
        for place in (folder / "data", folder):
            if (place / "metadata.json").is_file():
                return place
    return None


def read(folder: Path) -> Source:
    """The episodes of a data set, with costs from `infos/cost`.

    Raises:
        DataImportError: it is none, is kept in another form than HDF5, or is of other spaces.
    """
    try:
        metadata = parse_json(read_bytes(folder / "metadata.json"), allow_nan=True)
        spaces = {key: parse_json(metadata[f"{key}_space"], allow_nan=True) for key in ("observation", "action")}
    except (JSONContentError, KeyError, TypeError) as error:
        raise DataImportError(f"{folder / 'metadata.json'}: not a description of Minari's ({error})") from None
    form = metadata.get("data_format", "hdf5")
    if form != "hdf5":
        raise DataImportError(f"{folder}: is kept as {form}; make it again with data_format='hdf5'")
    for key, kinds in (("observation", ("Box", "Dict")), ("action", ("Box",))):
        if spaces[key].get("type") not in kinds:
            kind = spaces[key].get("type")
            raise DataImportError(f"{folder}: its {key}s are {kind}; {' or '.join(kinds)} is needed")
    try:
        with h5py.File(folder / "main_data.hdf5", "r") as file:
            names = sorted((name for name in file if name.startswith("episode_")), key=_number)
            episodes = [_episode(file[name], folder) for name in names]
    except (OSError, RuntimeError, KeyError) as error:
        raise DataImportError(f"{folder / 'main_data.hdf5'}: not a whole file of Minari ({error})") from None
    if not all("seed" in episode for episode in episodes):
        episodes = [{name: value for name, value in episode.items() if name != "seed"} for episode in episodes]
    low, high = (np.asarray(spaces["action"][side], dtype=np.float64).reshape(-1) for side in ("low", "high"))
    return Source(list(episodes), all("costs" in episode for episode in episodes), (low, high))


def _number(name: str) -> int:
    digits = name.removeprefix("episode_")
    return int(digits) if digits.isdecimal() else -1


def _episode(group: Any, folder: Path) -> Episode:
    observations, actions = _flat(group, "observations"), _flat(group, "actions")
    terminations, truncations = (read_stored(group, name).astype(bool) for name in ("terminations", "truncations"))
    if not (terminations[-1:].any() or truncations[-1:].any()):
        raise DataImportError(f"{folder}: {group.name[1:]} has no end (terminations, truncations); leave it out")
    found: dict[str, Any] = {
        "observations": observations,
        "actions": actions,
        "rewards": read_stored(group, "rewards"),
        "terminated": bool(terminations[-1]),
    }
    if (key := next((key for key in _COSTS if key in group), None)) is not None:
        costs = read_stored(group, key).reshape(-1)
        found["costs"] = costs[1:] if len(costs) == len(actions) + 1 else costs  # with the info of the reset
    if isinstance(group.attrs.get("seed"), int | np.integer):
        found["seed"] = int(group.attrs["seed"])
    return found


def _flat(group: Any, name: str) -> NDArray[Any]:
    """An array [T, size]; of a dictionary's parts in the order of their names, as gymnasium flattens them."""
    if isinstance(item := group[name], h5py.Group):
        return np.concatenate([_flat(item, part) for part in sorted(item)], axis=1)
    values = read_stored(group, name)
    return values.reshape(len(values), -1)
