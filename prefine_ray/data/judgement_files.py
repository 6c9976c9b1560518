"""What the files of people's judgement (labels of trajectories, pairs of them) have in common."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from prefine_ray.core.errors import DamagedFileError, PrefineError
from prefine_ray.core.files import read_bytes

_MAX_BYTES = 2**28


class LabelFileError(PrefineError, ValueError):
    """A file of labels or pairs cannot be used; the message names file and line or key, and what would be right."""


def judgement_text(path: Path) -> str:
    """The text of a file of labels or pairs.

    Raises:
        LabelFileError: no such file, or it is not UTF-8 text.
    """
    try:
        return read_bytes(path, _MAX_BYTES).decode("utf-8-sig")
    except DamagedFileError as error:
        raise LabelFileError(str(error)) from error
    except UnicodeDecodeError as error:
        raise LabelFileError(f"{path}: cannot be read as text ({error})") from error


def csv_columns(text: str) -> tuple[str, ...]:
    """The columns that the first line of a CSV text names."""
    try:
        return tuple(csv.DictReader(text.splitlines(), skipinitialspace=True).fieldnames or ())
    except csv.Error:
        return ()


def csv_rows(text: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields (where, the fields by column) of each line of a CSV text.

    Raises:
        LabelFileError: a needed column is missing, one stands twice, or a line is no CSV or has too many fields.
    """
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = rows.fieldnames or []
    if len(set(columns)) < len(columns):
        raise LabelFileError(f"line 1: a column stands twice in {','.join(columns)}")
    if not {*needed} <= set(columns):
        raise LabelFileError(f"line 1: the columns must be {','.join(needed)}, not {','.join(columns) or 'nothing'}")
    for row in _rows(rows):
        where = f"line {rows.line_num}"
        if None in row or len(columns) > len(row):
            raise LabelFileError(f"{where}: has more fields than the first line has columns")
        yield where, {name: (value or "").strip() for name, value in row.items()}


def _rows(rows: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise LabelFileError(f"line {rows.line_num}: not CSV ({error})") from error


def trajectory_number(text: str, where: str) -> int:
    """The number of a trajectory that stands in a field.

    Raises:
        LabelFileError: it is no whole number from 0.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise LabelFileError(f"{where}: trajectory {text!r}; a whole number from 0 is needed")
    return int(text)


def check_trajectory(number: int, where: str, num_episodes: int) -> None:
    """Refuses the number of a trajectory that the data do not have.

    Raises:
        LabelFileError: it is out of range.
    """
    if not 0 <= number < num_episodes:
        raise LabelFileError(f"{where}: trajectory {number}; the data has trajectories 0 to {num_episodes - 1}")
