"""Rows under other conditions: each file whole or absent, bound to the policies that they are about."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prefine_ray.results.folder import ResultsDir


def episodes(stage: str, *cells: str) -> pd.DataFrame:
    rows = [
        {"cell": cell, "method": "prefine", "seed": 0, "stage": stage, "episode": number, "return": 1.0, "cost": 0.0}
        for cell in cells
        for number in (0, 1)
    ]
    return pd.DataFrame(rows)


def finish(results: ResultsDir, policy: bytes = b"weights") -> None:
    """A pack of the cells a and b, whose policy files hold `policy`."""
    trials = pd.DataFrame([{"cell": cell, "method": "prefine", "seed": 0, "status": "finished"} for cell in "ab"])
    for cell in "ab":
        results.policy_path(cell).parent.mkdir(exist_ok=True, parents=True)
        results.policy_path(cell).write_bytes(policy)
    results.write_part("pack", {"episodes": episodes("finetuned", "a", "b"), "trials": trials}, policies=["a", "b"])


def stages(results: ResultsDir, *cells: str) -> list[tuple[str, str]]:
    rows = results.read("episodes", cells or None)
    return list(rows[["cell", "stage"]].drop_duplicates().itertuples(index=False, name=None))


def test_rows_are_read_and_merged_with_the_plain_ones(tmp_path: Path):
    results = ResultsDir(tmp_path)
    finish(results)
    results.write_conditions("pack", "reused", episodes("finetuned-reused", "a"))
    results.write_conditions("pack", "reused", episodes("finetuned-reused", "b"))
    results.write_conditions("pack", "noise1", episodes("finetuned-noise1", "a"))
    results.write_conditions("pack", "noise1", episodes("finetuned-noise1", "a", "b"))  # a is there already
    wanted = [(cell, stage) for cell in "ab" for stage in ("finetuned", "finetuned-noise1", "finetuned-reused")]
    assert stages(results) == wanted
    assert stages(results, "b") == wanted[3:]
    assert len(results.read("episodes")) == 12
    results.merge({"a"})
    assert set(pd.read_parquet(tmp_path / "episodes.parquet")["stage"]) == {stage for _, stage in wanted}
    assert results.find_damages() == []
    assert results.owners() == {"a": "pack", "b": "pack"}


def test_rows_of_an_earlier_policy_do_not_count(tmp_path: Path):
    results = ResultsDir(tmp_path)
    finish(results)
    results.write_conditions("pack", "reused", episodes("finetuned-reused", "a", "b"))
    finish(results, policy=b"trained again")
    assert stages(results) == [("a", "finetuned"), ("b", "finetuned")]


def test_rows_of_a_pack_that_is_not_finished_are_not_seen(tmp_path: Path):
    results = ResultsDir(tmp_path)
    finish(results)
    results.write_conditions("pack", "reused", episodes("finetuned-reused", "a"))
    results.part_path("trials", "pack").unlink()
    assert results.read("episodes").empty


def test_a_damaged_file_is_named_and_removed_and_takes_no_cell_away(tmp_path: Path):
    results = ResultsDir(tmp_path)
    finish(results)
    results.write_conditions("pack", "reused", episodes("finetuned-reused", "a"))
    [path] = (tmp_path / "parts" / "conditions").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert stages(results) == [("a", "finetuned"), ("b", "finetuned")]
    [damage] = results.repair()
    assert str(path) in damage.problem
    assert not path.exists()
    assert results.finished_cells() == {"a", "b"}
    assert results.find_damages() == []
