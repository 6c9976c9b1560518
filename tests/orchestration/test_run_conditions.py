"""Conditions are added to a finished sweep: its policies are evaluated again, not trained again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.small_sweep import CONFIG, finish, prefine, start

CONDITIONS = ["reused", "noise1", "delay1"]


@pytest.fixture(scope="module")
def extended(finished: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished sweep with its policies evaluated under conditions."""
    folder = tmp_path_factory.mktemp("conditions") / "sweep"
    shutil.copytree(finished[0], folder)
    (folder.parent / "data").symlink_to(finished[0].parent / "data")
    finish(start(folder, {**CONFIG, "evaluation": {"episodes": 3, "conditions": CONDITIONS}}))
    return folder


def rows_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results" / "episodes.parquet")


def times(folder: Path, kind: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "results" / "parts" / kind).glob("*.parquet")}


def test_nothing_is_trained_again(finished: tuple[Path, str], extended: Path):
    for kind in ("episodes", "curves", "trials"):
        assert times(extended, kind) == times(finished[0], kind)
    plain = rows_of(extended).query("not stage.str.contains('-')").reset_index(drop=True)
    pd.testing.assert_frame_equal(plain, rows_of(finished[0]))


def test_all_weights_on_tuning_seeds_and_two_on_reported_ones(extended: Path):
    rows = rows_of(extended)
    rows = rows[rows["stage"].str.contains("-")]
    assert (rows.groupby(["cell", "stage"]).size() == 3).all()
    assert {stage.split("-")[1] for stage in rows["stage"]} == set(CONDITIONS)
    ours = rows[rows["method"] == "prefine"]
    assert set(ours.loc[ours["split"] == "tuning", "weight"]) == {0.0, 5.0}
    assert set(ours.loc[ours["split"] == "test", "weight"]) == {0.0, 5.0}  # the control, and the only other one
    assert set(rows["method"]) == {"base", "prefine", "bc_all", "trac"}
    assert set(rows.loc[rows["method"] == "base", "stage"]) == {f"base-{name}" for name in CONDITIONS}
    table = (extended / "results" / "tables" / "summary.md").read_text()
    assert "Robustness" in table
    assert "under other conditions are missing" not in table


def test_a_second_run_does_no_work_twice_and_evaluates_a_lost_file_alone(extended: Path, tmp_path: Path):
    folder = tmp_path / "sweep"
    shutil.copytree(extended, folder)
    (tmp_path / "data").symlink_to((extended.parent / "data").resolve())
    [lost, *_] = sorted((folder / "results" / "parts" / "conditions").glob("*-noise1-*.parquet"))
    before = {kind: times(folder, kind) for kind in ("episodes", "curves", "trials", "conditions")}
    lost.unlink()
    config = {**CONFIG, "evaluation": {"episodes": 3, "conditions": CONDITIONS}}
    finish(start(folder, config, "--actors", "1"))
    after = {kind: times(folder, kind) for kind in before}
    assert after["conditions"].pop(lost.name) != before["conditions"].pop(lost.name)
    assert after == before
    pd.testing.assert_frame_equal(rows_of(folder), rows_of(extended))  # on one actor, the lost rows alone


def test_evaluate_gives_the_rows_of_a_condition_again(extended: Path):
    rows = rows_of(extended)
    cell = rows.query("task == 'BallRun' and stage == 'finetuned-noise1' and seed == 1").iloc[0]["cell"]
    policy = extended / "results" / "policies" / f"{cell}.safetensors"
    words = ["--task", "BallRun", "--policy", str(policy), "--episodes", "3", "--seed", "1", "--json"]
    found = json.loads(finish(prefine(extended, "evaluate", *words, "--condition", *CONDITIONS)))
    for name in CONDITIONS:
        recorded = rows[(rows["cell"] == cell) & (rows["stage"] == f"finetuned-{name}")]
        assert found["conditions"][name]["returns"] == recorded["return"].tolist()
        assert found["conditions"][name]["costs"] == recorded["cost"].tolist()
