"""Labels that people gave: a CSV or JSON file of preferred and dispreferred trajectories."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.errors import DamagedFileError, PrefineError
from prefine_ray.core.files import read_bytes
from prefine_ray.data.preferences import PreferenceSets

_LABELS = {"preferred": "preferred", "1": "preferred", "dispreferred": "dispreferred", "0": "dispreferred"}
_MAX_BYTES = 2**28


class LabelFileError(PrefineError, ValueError):
    """A file of labels cannot be used; the message names file and line or key, and what would be right."""


def read_labels(path: str | Path, num_episodes: int) -> PreferenceSets:
    """Reads labels for a data set of `num_episodes` trajectories, numbered from 0.

    The file is CSV with the columns trajectory,label (preferred or 1, dispreferred or 0; other columns are
    ignored), or JSON: {"preferred": [numbers], "dispreferred": [numbers]}. Not all trajectories need a label.

    Raises:
        LabelFileError: no such file, another form, an unknown label, a number out of range or labelled twice,
            or a side without trajectories.
    """
    path = Path(path)
    readers = {".csv": _csv_labels, ".json": _json_labels}
    if path.suffix.lower() not in readers:
        raise LabelFileError(f"{path}: labels are read from .csv or .json files")
    try:
        text = read_bytes(path, _MAX_BYTES).decode("utf-8-sig")
    except DamagedFileError as error:
        raise LabelFileError(str(error)) from error
    except UnicodeDecodeError as error:
        raise LabelFileError(f"{path}: cannot be read as text ({error})") from error
    sides: dict[str, list[int]] = {"preferred": [], "dispreferred": []}
    seen: dict[int, str] = {}
    try:
        for where, number, side in readers[path.suffix.lower()](text):
            if not 0 <= number < num_episodes:
                raise LabelFileError(f"{where}: trajectory {number}; the data has trajectories 0 to {num_episodes - 1}")
            if number in seen:
                raise LabelFileError(f"{where}: trajectory {number} has a label already, {seen[number]}; label it once")
            seen[number] = f"{side} in {where}"
            sides[side].append(number)
        if empty := [side for side, numbers in sides.items() if not numbers]:
            raise LabelFileError(f"no {empty[0]} trajectory; at least one of each side is needed")
    except LabelFileError as error:
        raise LabelFileError(f"{path}: {error}") from None
    return PreferenceSets(**{side: np.sort(np.array(numbers, dtype=np.int64)) for side, numbers in sides.items()})


def _csv_labels(text: str) -> Iterator[tuple[str, int, str]]:
    """Yields (where, trajectory, side) of each line."""
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = rows.fieldnames or []
    if len(set(columns)) < len(columns):
        raise LabelFileError(f"line 1: a column stands twice in {','.join(columns)}")
    if not {"trajectory", "label"} <= set(columns):
        raise LabelFileError(f"line 1: the columns must be trajectory,label, not {','.join(columns) or 'nothing'}")
    for row in _rows(rows):
        where = f"line {rows.line_num}"
        number, label = (row["trajectory"] or "").strip(), (row["label"] or "").strip().lower()
        if None in row or len(columns) > len(row):
            raise LabelFileError(f"{where}: has more fields than the first line has columns")
        if not (number.isascii() and number.isdecimal() and len(number) < 19):
            raise LabelFileError(f"{where}: trajectory {number!r}; a whole number from 0 is needed")
        if label not in _LABELS:
            raise LabelFileError(f"{where}: label {label!r}; it must be one of {', '.join(_LABELS)}")
        yield where, int(number), _LABELS[label]


def _rows(rows: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise LabelFileError(f"line {rows.line_num}: not CSV ({error})") from error


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
