"""What `prefine status` needs of the cells that have ended, kept in DIR/cache and brought up to date pack by pack.

A sweep of 100,000 cells has two million episodes; of these only the mean scores per cell and condition are kept, in
`cache/runs.parquet`, beside `cache/trials.parquet`. A pack is read again when its files have changed. The folder may
be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from prefine_ray.analysis.columns import METRICS
from prefine_ray.analysis.rows import episode_table
from prefine_ray.core.digests import digest
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.tables import read_notes, read_table, write_table
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.scores import score_table

_PACK, _VERSION, _COUNT = "pack", "version", "episodes"
_STAMP = "stamp"  # the note of both tables that says which one it is, and whether they are of the same call
_SHOWN = ["cell", "task", "method", "status", "error", "log"]  # of a trial
_MEANS = ["return", "cost", *METRICS]
_KEYS = {"trials": ["cell"], "runs": ["cell", "stage"]}


@dataclass(frozen=True)
class EndedCells:
    """The cells that have ended; both tables have the column `pack`."""

    trials: pd.DataFrame  # columns _SHOWN
    runs: pd.DataFrame  # one row per cell and stage: the identity columns, `episodes`, and _MEANS over them


def ended_cells(results: ResultsDir) -> EndedCells:
    """Those of a results folder, of which only the packs that have changed are read.

    A cell that two packs hold is the first one's.
    """
    versions = results.part_versions()
    kept = {name: _current(table, versions) for name, table in _read(results).items()}
    fresh = set(versions) - set(kept["trials"].get(_PACK, ()))
    if fresh:
        new = _rows_of(results, fresh)
        kept = {name: _joined(table, new[name], versions) for name, table in kept.items()}
        with suppress(OSError):  # a read-only folder
            _write(results, kept, digest(versions))
    tables = {name: table.drop_duplicates(_KEYS[name]) if len(table) else table for name, table in kept.items()}
    return EndedCells(tables["trials"], tables["runs"])


def run_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs as `prefine_ray.analysis.rows.run_table` has them, but those of policies without a threshold."""
    rows = runs.dropna(subset="threshold").assign(episode=0, terminated=False).reset_index(drop=True)
    table = episode_table(rows).drop(columns=["episode", "terminated"])
    table = table.astype(dict.fromkeys(table.select_dtypes("category"), object))
    return table.assign(**{name: rows.loc[table.index, name] for name in (_COUNT, *METRICS)})


def _path(results: ResultsDir, name: str) -> Path:
    return results.cache_folder / f"{name}.parquet"


def _write(results: ResultsDir, tables: Mapping[str, pd.DataFrame], stamp: str) -> None:
    for name, table in tables.items():
        write_table(_path(results, name), table, {_STAMP: f"{name} {stamp}"})


def _read(results: ResultsDir) -> dict[str, pd.DataFrame]:
    """The kept tables; empty ones where there are none, damaged ones, or two of different calls."""
    try:
        stamps = {read_notes(_path(results, name)).get(_STAMP, "").removeprefix(f"{name} ") for name in _KEYS}
        tables = {name: read_table(_path(results, name)) for name in _KEYS}
    except DamagedFileError:
        return {name: pd.DataFrame() for name in _KEYS}
    return tables if len(stamps) == 1 else {name: pd.DataFrame() for name in _KEYS}


def _current(table: pd.DataFrame, versions: Mapping[str, str]) -> pd.DataFrame:
    """The rows of the packs that have not changed."""
    if not {_PACK, _VERSION} <= set(table.columns):
        return pd.DataFrame()
    return table[table[_PACK].map(versions) == table[_VERSION]]


def _joined(kept: pd.DataFrame, new: pd.DataFrame, versions: Mapping[str, str]) -> pd.DataFrame:
    """Both, in the order of the packs."""
    parts = [part for part in (kept, new) if len(part)]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True).sort_values(_PACK, kind="stable", ignore_index=True)
    return table.assign(**{_VERSION: table[_PACK].map(versions)})


def _rows_of(results: ResultsDir, packs: Collection[str]) -> dict[str, pd.DataFrame]:
    """Both tables of these packs, read again."""
    trials = results.read("trials", packs=packs)
    owners = results.owners(packs)
    shown = trials.reindex(columns=_SHOWN).fillna({"log": "", "error": ""})
    tables = {"trials": shown, "runs": _runs(results.read("episodes", packs=packs))}
    return {name: _owned(table, owners) for name, table in tables.items()}


def _owned(table: pd.DataFrame, owners: Mapping[str, str]) -> pd.DataFrame:
    return table.assign(**{_PACK: table["cell"].map(owners)}) if len(table) else pd.DataFrame()


def _runs(episodes: pd.DataFrame) -> pd.DataFrame:
    """The means of each cell and stage; the other columns are those of its first episode."""
    if episodes.empty:
        return episodes
    rows = score_table(episodes).assign(**{_COUNT: 1})
    groups = rows.groupby(["cell", "stage"], sort=False)
    means, counts = groups[_MEANS].mean(), groups[_COUNT].sum()
    identity = rows.drop(columns=[*_MEANS, _COUNT, "episode", "length", "terminated"], errors="ignore")
    first = identity.drop_duplicates(["cell", "stage"]).set_index(["cell", "stage"])
    return first.join(means).join(counts).reset_index()
