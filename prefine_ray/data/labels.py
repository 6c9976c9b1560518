"""Labels that people gave: a CSV or JSON file of preferred and dispreferred trajectories, or of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.data.judgement_files import (
    LabelFileError,
    check_trajectory,
    csv_rows,
    judgement_text,
    trajectory_number,
)
from prefine_ray.data.pairs import has_pairs, parse_pairs, sets_of_pairs
from prefine_ray.data.preferences import PreferenceSets

_LABELS = {"preferred": "preferred", "1": "preferred", "dispreferred": "dispreferred", "0": "dispreferred"}


def read_labels(path: str | Path, num_episodes: int) -> PreferenceSets:
    """Reads labels for a data set of `num_episodes` trajectories, numbered from 0.

    The file is CSV with the columns trajectory,label (preferred or 1, dispreferred or 0; other columns are
    ignored), or JSON: {"preferred": [numbers], "dispreferred": [numbers]}. Not all trajectories need a label.
    Of a CSV with the columns better,worse the Bradley-Terry scores give the sides (see `sets_of_pairs`).

    Raises:
        LabelFileError: no such file, another form, an unknown label, a number out of range or labelled twice,
            or a side without trajectories.
    """
    path = Path(path)
    readers = {".csv": _csv_labels, ".json": _json_labels}
    if path.suffix.lower() not in readers:
        raise LabelFileError(f"{path}: labels are read from .csv or .json files")
    text = judgement_text(path)
    try:
        if path.suffix.lower() == ".csv" and has_pairs(text):
            return sets_of_pairs(parse_pairs(text, num_episodes))
        return _sides(readers[path.suffix.lower()](text), num_episodes)
    except LabelFileError as error:
        raise LabelFileError(f"{path}: {error}") from None


def _sides(labels: Iterator[tuple[str, int, str]], num_episodes: int) -> PreferenceSets:
    sides: dict[str, list[int]] = {"preferred": [], "dispreferred": []}
    seen: dict[int, str] = {}
    for where, number, side in labels:
        check_trajectory(number, where, num_episodes)
        if number in seen:
            raise LabelFileError(f"{where}: trajectory {number} has a label already, {seen[number]}; label it once")
        seen[number] = f"{side} in {where}"
        sides[side].append(number)
    if empty := [side for side, numbers in sides.items() if not numbers]:
        raise LabelFileError(f"no {empty[0]} trajectory; at least one of each side is needed")
    return PreferenceSets(**{side: np.sort(np.array(numbers, dtype=np.int64)) for side, numbers in sides.items()})


def _csv_labels(text: str) -> Iterator[tuple[str, int, str]]:
    """Yields (where, trajectory, side) of each line."""
    for where, row in csv_rows(text, ("trajectory", "label")):
        number, label = trajectory_number(row["trajectory"], where), row["label"].lower()
        if label not in _LABELS:
            raise LabelFileError(f"{where}: label {label!r}; it must be one of {', '.join(_LABELS)}")
        yield where, number, _LABELS[label]


def _json_labels(text: str) -> Iterator[tuple[str, int, str]]:
    """Yields (where, trajectory, side) of each entry."""
    form = '{"preferred": [numbers], "dispreferred": [numbers]}'
    try:
        content: Any = parse_json(text)
    except JSONContentError as error:
        raise LabelFileError(f"{error}; {form} is needed") from error
    if not isinstance(content, dict) or set(content) != {"preferred", "dispreferred"}:
        found = f"the keys {', '.join(map(repr, content))}" if isinstance(content, dict) else type(content).__name__
        raise LabelFileError(f"found {found}; {form} is needed")
    for side, numbers in content.items():
        if not isinstance(numbers, list):
            raise LabelFileError(f"key {side!r}: a list of trajectory numbers is needed, not {numbers!r}")
        for place, number in enumerate(numbers):
            where = f"key {side!r}, entry {place}"
            if type(number) is not int:
                raise LabelFileError(f"{where}: {number!r}; a whole number from 0 is needed")
            yield where, number, side
