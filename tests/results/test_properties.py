"""The results folder, whatever is written to it and in which order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine_ray.results.folder import ResultsDir

CELLS = [f"c{number}" for number in range(6)]
Pack = dict[str, str]  # the status of each of its cells
packs = st.lists(
    st.dictionaries(st.sampled_from(CELLS), st.sampled_from(["finished", "failed"]), min_size=1, max_size=4), max_size=5
)


@contextmanager
def folder() -> Iterator[ResultsDir]:
    """An empty one."""
    with tempfile.TemporaryDirectory() as root:
        yield ResultsDir(root)


def disjoint(given_packs: list[Pack]) -> list[Pack]:
    """Each cell in its first pack only, as in a sweep."""
    seen: set[str] = set()
    kept = []
    for pack in given_packs:
        fresh = {cell: status for cell, status in pack.items() if cell not in seen}
        seen |= set(fresh)
        if fresh:
            kept.append(fresh)
    return kept


def write(results: ResultsDir, pack: Pack) -> None:
    common = [{"cell": cell, "task": "BallRun", "method": "prefine", "seed": int(cell[1:])} for cell in pack]
    trials = pd.DataFrame([{**row, "status": pack[row["cell"]]} for row in common])
    episodes = pd.DataFrame([{**row, "episode": n, "cost": float(n)} for row in common for n in range(2)])
    results.write_part("-".join(pack), {"episodes": episodes, "trials": trials})


def merged(results: ResultsDir, cells: list[str]) -> dict[str, pd.DataFrame]:
    results.merge(cells)
    return {path.stem: pd.read_parquet(path) for path in Path(results.root).glob("*.parquet")}


@settings(deadline=None, max_examples=15)
@given(packs, st.sets(st.sampled_from(CELLS)), st.randoms())
def test_merged_tables_hold_each_wanted_cell_once_in_one_order(given_packs, wanted, random):
    written = disjoint(given_packs)
    with folder() as first, folder() as second:
        for pack in written:
            write(first, pack)
        for pack in random.sample(written, len(written)):
            write(second, pack)
        tables, again = merged(first, sorted(wanted)), merged(second, sorted(wanted, reverse=True))
    expected = sorted(wanted & {cell for pack in written for cell in pack})
    assert set(tables) == ({"episodes", "trials"} if expected else set())
    for kind, table in tables.items():
        assert table["cell"].tolist() == [cell for cell in expected for _ in range(2 if kind == "episodes" else 1)]
        pd.testing.assert_frame_equal(table, again[kind])


@settings(deadline=None, max_examples=15)
@given(packs)
def test_failed_cells_are_forgotten_and_no_others(given_packs):
    written = disjoint(given_packs)
    status = {cell: state for pack in written for cell, state in pack.items()}
    with folder() as results:
        for pack in written:
            write(results, pack)
        assert results.finished_cells() == set(status)
        assert results.forget_failed() == sum(state == "failed" for state in status.values())
        good = {cell for cell, state in status.items() if state == "finished"}
        assert results.finished_cells() == good
        assert results.forget_failed() == 0
        for kind in ("trials", "episodes"):
            rows = results.read(kind)
            assert (set() if rows.empty else set(rows["cell"])) == good
