"""Which evaluations under other conditions are needed: picks are made on tuning cells, by the rule of the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from prefine_ray.analysis.condition_plan import missing_evaluations, missing_in, picked_weight
from prefine_ray.analysis.progress.status import status_text
from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import summarize
from prefine_ray.experiment.config import dump_config, make_config
from prefine_ray.results.folder import ResultsDir
from tests.analysis.synthetic import compared_episodes, synthetic_episodes, write_results

CONDITIONS = ("reused", "noise1")
IDENTITY = ["cell", "method", "task", "preferred", "threshold", "weight", "seed", "split"]


def sweep_rows(tuning: bool = True) -> pd.DataFrame:
    """Of the base policy, prefine at four weights and BC-Safe; seed 2 is the tuning seed."""
    rows = compared_episodes(synthetic_episodes(tasks=("BallRun",), seeds=3, episodes=4), ("bc_safe",))
    is_tuning = (rows["seed"] == 2) & (rows["method"] == "prefine")
    rows["split"] = is_tuning.map({True: "tuning", False: "test"})
    return rows[is_tuning | (rows["seed"] < 2)] if tuning else rows.assign(split="test")


def under(rows: pd.DataFrame, name: str, factor: float = 1.0) -> pd.DataFrame:
    """The rows again, under a condition at so many times the cost."""
    return rows.assign(stage=rows["stage"] + "-" + name, cost=rows["cost"] * factor)


def missing(rows: pd.DataFrame, episodes: pd.DataFrame, failed: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    grid = rows[IDENTITY].drop_duplicates("cell")
    trials = grid.assign(status=["failed" if cell in failed else "finished" for cell in grid["cell"]])
    return set(missing_evaluations(grid, trials, episodes, CONDITIONS))


def pairs(rows: pd.DataFrame) -> set[tuple[str, str]]:
    return {(cell, name) for cell in rows["cell"] for name in CONDITIONS}


def is_picked_on(rows: pd.DataFrame) -> pd.Series:
    return (rows["split"] == "tuning") | rows["weight"].isna() | (rows["weight"] == 0.0)


def test_first_all_weights_on_tuning_cells_then_the_picked_one_on_reported_cells():
    rows = sweep_rows()
    assert missing(rows, rows) == pairs(rows[is_picked_on(rows)])
    first = rows[is_picked_on(rows)]
    tuned = rows[rows["split"] == "tuning"]
    plain = picked_weight(tuned[IDENTITY].drop_duplicates("cell"), rows)
    half = pd.concat([rows, under(first, "reused")])
    assert missing(rows, half) == {(cell, "noise1") for cell in first["cell"]}  # no pick before the last condition
    harder = pd.concat([half, under(first, "noise1", 2.5)])
    picked = picked_weight(tuned[IDENTITY].drop_duplicates("cell"), harder)
    assert picked > plain
    assert missing(rows, harder) == pairs(rows[(rows["split"] == "test") & (rows["weight"] == picked)])


def test_when_all_is_there_nothing_is_missing_and_the_report_picks_the_same(tmp_path: Path):
    rows = sweep_rows()
    first = rows[is_picked_on(rows)]
    whole = pd.concat([rows, under(first, "reused"), under(first, "noise1", 2.5)], ignore_index=True)
    last = rows[rows["cell"].isin([cell for cell, _ in missing(rows, whole)])]
    whole = pd.concat([whole, under(last, "reused"), under(last, "noise1", 2.5)], ignore_index=True)
    assert missing(rows, whole) == set()
    [choice] = summarize(load_results(write_results(tmp_path, whole))).choices.itertuples()
    assert (choice.weight, choice.picked_on) == (last["weight"].iloc[0], "tuning")


def test_without_tuning_cells_all_weights_are_evaluated():
    rows = sweep_rows(tuning=False)
    assert missing(rows, rows) == pairs(rows)


def test_no_pick_before_all_tuning_cells_have_ended():
    rows = sweep_rows()
    first = rows[is_picked_on(rows)]
    late = rows[(rows["split"] == "tuning") & (rows["weight"] == 20.0)]
    ended = rows[~rows["cell"].isin(late["cell"])]
    grid, trials = (part[IDENTITY].drop_duplicates("cell") for part in (rows, ended))
    episodes = pd.concat([ended, *(under(first[~first["cell"].isin(late["cell"])], name) for name in CONDITIONS)])
    assert missing_evaluations(grid, trials.assign(status="finished"), episodes, CONDITIONS) == []


def test_failed_cells_are_not_waited_for():
    rows = sweep_rows()
    failed = tuple(rows.loc[(rows["split"] == "tuning") & (rows["weight"] == 20.0), "cell"].unique())
    good = rows[~rows["cell"].isin(failed)]
    episodes = pd.concat([good, *(under(good[is_picked_on(good)], name) for name in CONDITIONS)])
    needed = missing(rows, episodes, failed)
    assert {rows.set_index("cell").loc[cell, "weight"].iloc[0] for cell, _ in needed} <= {1.0, 5.0}
    assert needed


def test_too_few_episodes_do_not_count():
    rows = sweep_rows(tuning=False)
    cut = under(rows, "reused")
    cut = cut[(cut["episode"] > 0) | (cut["method"] != "base")]
    base = rows[rows["method"] == "base"]
    whole = pd.concat([rows, cut, under(rows, "noise1")])
    assert missing(rows, whole) == {(cell, "reused") for cell in base["cell"]}


@pytest.mark.parametrize("asked", [[], ["noise1"]])
def test_status_and_report_say_what_is_missing(tmp_path: Path, asked: list[str]):
    rows = sweep_rows()
    results = ResultsDir(tmp_path)
    results.write_config(dump_config(make_config(name="x", tasks=["BallRun"], evaluation={"conditions": asked})))
    grid = rows[IDENTITY].drop_duplicates("cell")
    results.write_grid(grid.to_dict("records"))
    results.write_part("pack", {"trials": grid.assign(status="finished", error=""), "episodes": rows})
    results.merge(set(grid["cell"]))
    count = grid["cell"].isin(rows.loc[is_picked_on(rows), "cell"]).sum() if asked else 0
    assert len(missing_in(results)) == count
    warned = [text for text in summarize(load_results(tmp_path)).warnings if "other conditions" in text]
    assert len(warned) == len(asked)
    assert ("evaluations under other conditions: at least" in status_text(tmp_path)) == bool(asked)


def test_status_shows_the_weight_that_was_picked_on_tuning_cells(tmp_path: Path):
    rows = sweep_rows()
    rows = rows[rows["method"] != "bc_safe"]
    results, grid = ResultsDir(tmp_path), rows[IDENTITY].drop_duplicates("cell")
    results.write_config(dump_config(make_config(name="x", tasks=["BallRun"])))
    results.write_grid(grid.to_dict("records"))
    for factor in (1.0, 1e-3):  # on reported episodes alone, weight 1 would be the best of these
        reported = rows["split"] == "test"
        shown = rows.assign(cost=rows["cost"].where(~reported, rows["cost"] * factor))
        results.write_part("pack", {"trials": grid.assign(status="finished", error=""), "episodes": shown})
        tuned = rows[rows["split"] == "tuning"]
        picked = picked_weight(tuned[IDENTITY].drop_duplicates("cell"), rows)
        assert picked > 1.0
        assert f"w={picked:g}, normalised reward" in status_text(tmp_path)
