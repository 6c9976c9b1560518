"""Rows of episodes under other conditions: they may come long after their pack was finished, so they have own files.

    DIR/parts/conditions/<pack>-<condition>-<digest of the cells>.parquet

A file notes the digests of the policies that it is about. Rows of a policy that is no longer the cell's do not count.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from prefine_ray.core.digests import digest
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.tables import read_notes, read_table, write_table

_POLICIES = "policies"
_log = logging.getLogger(__name__)


class ConditionParts:
    """The files of one results folder.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, pack: str, condition: str, rows: pd.DataFrame, policies: Mapping[str, str]) -> None:
        """Adds the rows of some cells of a pack under one condition; the file is whole or absent.

        Args:
            pack: its name.
            condition: its name.
            rows: all episodes of these cells under the condition.
            policies: the digests of the pack's policy files by cell.
        """
        cells = sorted(set(rows["cell"]))
        notes = {_POLICIES: json.dumps({cell: policies.get(cell, "") for cell in cells})}
        write_table(self._folder / f"{pack}-{condition}-{digest(cells)}.parquet", rows, notes)

    def read(self, pack: str, policies: Mapping[str, str]) -> pd.DataFrame:
        """The rows of a pack that are of these policies; damaged files are left out, with a warning each."""
        frames = [pd.DataFrame()]
        for path in self._files(pack):
            try:
                rows, noted = read_table(path), json.loads(read_notes(path).get(_POLICIES, "{}"))
            except DamagedFileError as error:
                _log.warning("%s; its rows are left out", error)
                continue
            valid = {cell for cell, policy in noted.items() if policies.get(cell, "") == policy}
            frames.append(rows[rows["cell"].isin(valid)])
        return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)

    def paths(self) -> list[Path]:
        """All files, in a fixed order."""
        return sorted(self._folder.glob("*.parquet"))

    def versions(self) -> dict[str, str]:
        """By pack: a text that changes when rows under conditions are added; packs without any are not in it."""
        found: dict[str, list[str]] = {}
        for path in self.paths():
            pack = path.stem.rsplit("-", 2)[0]
            found.setdefault(pack, []).append(f"{path.name}-{path.stat().st_mtime_ns}")
        return {pack: digest(names) for pack, names in found.items()}

    def damaged(self, pack: str) -> Iterator[tuple[Path, str]]:
        """The files of a pack that were cut or altered, and what is wrong with them."""
        for path in self._files(pack):
            try:
                read_table(path, ["cell", "stage"])
            except DamagedFileError as error:
                yield path, str(error)

    def _files(self, pack: str) -> list[Path]:
        return sorted(self._folder.glob(f"{pack}-*.parquet"))
