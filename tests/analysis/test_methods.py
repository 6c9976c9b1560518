"""Several methods, numbers of preferred trajectories and label noises in one results folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from prefine_ray.analysis.plots.efficiency import efficiency, efficiency_series
from prefine_ray.analysis.report import console_table, make_budget_report, make_report
from prefine_ray.analysis.rows import ResultsError, kind_parts, load_results, preference_kind
from prefine_ray.analysis.summary import Summary, main_kinds, summarize
from prefine_ray.analysis.tables.all_tables import all_tables
from prefine_ray.analysis.tables.headline import method_tables
from prefine_ray.analysis.wording import kind_text
from tests.analysis.synthetic import compared_episodes, synthetic_episodes, with_numbers, write_results

TASKS = ("BallRun", "HopperVelocity")


def summary_of(folder: Path, rows: pd.DataFrame) -> Summary:
    return summarize(load_results(write_results(folder, rows)))


def several_kinds() -> pd.DataFrame:
    """Best trajectories, 20 and 100 of them, without and with wrong labels; all other methods beside each."""
    rows = synthetic_episodes(tasks=TASKS, seeds=2, episodes=2)
    settings = ((100, 0.0), (20, 0.0), (100, 0.5))
    parts = [with_numbers(rows.assign(cost=rows["cost"] + 100 / n), n, noise) for n, noise in settings]
    parts = [parts[0], *(part[part["method"] != "base"] for part in parts[1:])]
    return compared_episodes(pd.concat(parts, ignore_index=True))


def test_kinds_of_preferences_by_hand():
    assert preference_kind("best") == "best"
    assert preference_kind("random", 20, 0.25) == "random-20-0.25"
    assert preference_kind("") == ""
    assert preference_kind("labels", 0, 0.0) == "labels"
    for kind in ("best", "random-20-0.25", "best-100", "", "labels"):
        assert preference_kind(*kind_parts(kind)) == kind
    assert main_kinds(["best-20", "best-100", "best-200-0.5", "random-5-0.5", "labels"]) == (
        "best-100",
        "labels",
        "random-5-0.5",
    )
    assert kind_text("best") == "the best safe trajectories"
    assert kind_text("random-20-0.5") == "20 random safe trajectories, 50% wrong labels"


def test_a_policy_without_a_threshold_is_scored_at_every_threshold(tmp_path: Path):
    rows = compared_episodes(synthetic_episodes(tasks=("BallRun",), levels=(0, 2), seeds=2, episodes=2), ("bc_all",))
    one = rows[(rows["method"] != "bc_all") | rows["cell"].str.contains("-10-")]  # trained once
    cells = summary_of(tmp_path, one).cells.query("method == 'bc_all'").set_index("threshold")
    assert cells.index.tolist() == [10.0, 40.0]
    cost = one.loc[one["method"] == "bc_all", "cost"].mean()
    assert cells["normalized_cost"].tolist() == pytest.approx([cost / 10, cost / 40])
    assert cells["seeds"].tolist() == [2, 2]


def test_other_methods_must_have_a_threshold(tmp_path: Path):
    rows = compared_episodes(synthetic_episodes(tasks=("BallRun",), seeds=1), ("trac",))
    rows.loc[rows["method"] == "trac", "threshold"] = np.nan
    with pytest.raises(ResultsError, match="only those of base, bc_all have none"):
        summary_of(tmp_path, rows)


def test_methods_stand_side_by_side_in_the_same_tables(tmp_path: Path):
    rows = compared_episodes(synthetic_episodes(tasks=TASKS, seeds=2, episodes=3))
    summary = summary_of(tmp_path, rows)
    (beside,) = method_tables(summary)
    assert [column.name for column in beside.columns[2:]] == [
        "Base policy",
        "Weight 0",
        "Best weight",
        "BC-All",
        "BC-Safe",
        "CPL-KL",
        "TraC",
    ]
    cells = summary.cells.query("task == 'BallRun' and method == 'trac'").iloc[0]
    assert beside.rows[0].cells[1].text == "20"
    assert beside.rows[0].cells[-1].text == f"{cells['normalized_reward']:.2f} / {cells['normalized_cost']:.2f}"
    details = next(table for table in all_tables(summary) if table.title == "Bullet, cost threshold 20")
    policies = [row.cells[1].text.split(" ")[0] for row in details.rows]
    assert policies == ["base", "weight", "weight", "weight", "weight", "BC-All", "BC-Safe", "CPL-KL", "TraC"]
    for row in details.rows[5:]:
        assert row.cells[2].interval  # reward and cost with intervals, and the number of episodes
        assert row.cells[3].interval
        assert row.cells[-1].text == "2 x 3"
    published = {row.cells[1].text: row.cells[-3].text for row in details.rows}
    assert (published["BC-All"], published["TraC"], published["CPL-KL"]) == ("0.60", "0.27", "\u2013")


def test_no_table_of_methods_where_there_is_one(tmp_path: Path):
    assert method_tables(summary_of(tmp_path, synthetic_episodes(tasks=TASKS, seeds=2, episodes=2))) == []


def test_numbers_and_noises_are_not_pooled(tmp_path: Path):
    summary = summary_of(tmp_path, several_kinds())
    assert summary.kinds == ("best-20", "best-100", "best-100-0.5")
    assert summary.variants == ("best-100",)
    assert not [warning for warning in summary.warnings if "pool" in warning]
    rows = summary.cells.query("task == 'BallRun' and method == 'prefine' and weight == 5")
    assert rows[["num_preferred", "label_noise"]].to_numpy().tolist() == [[100, 0], [100, 0.5], [20, 0]]
    assert rows["normalized_cost"].iloc[2] - rows["normalized_cost"].iloc[0] == pytest.approx((100 / 20 - 1) / 20)
    cloned = summary.cells.query("task == 'BallRun' and method == 'bc_safe'")
    assert cloned["preferred"].tolist() == [""]


def test_every_kind_is_in_one_table_of_averages(tmp_path: Path):
    tables = all_tables(summary_of(tmp_path, several_kinds()))
    table = next(table for table in tables if table.title.startswith("Every kind"))
    first = [row.cells[0].text for row in table.rows if row.first]
    assert first == [
        "the 20 best safe trajectories",
        "the 100 best safe trajectories",
        "the 100 best safe trajectories, 50% wrong labels",
    ]
    policies = [row.cells[1].text for row in table.rows[: len(table.rows) // 3]]
    assert policies == ["base policy", "weight 0", "best weight", "BC-All", "BC-Safe", "CPL-KL", "TraC"]
    titles = [table.title for table in tables]
    assert sum(title.startswith("Headline") for title in titles) == 1  # the tables per task tell the main kind


def test_report_and_console_of_several_methods_and_kinds(tmp_path: Path):
    rows = several_kinds()
    paths = make_report(write_results(tmp_path, rows, with_training=True))
    assert "All methods on the same data" in paths.page.read_text()
    text = console_table(paths.summary)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 120
    assert "TraC" in text
    csv = pd.read_csv(paths.csv)
    assert not csv.duplicated(["task", "preferred", "threshold", "method", "weight"]).any()
    assert set(csv["method"]) == {"base", "prefine", "bc_all", "bc_safe", "cpl", "trac"}


def test_efficiency_is_drawn_where_several_numbers_were_tried(tmp_path: Path):
    assert efficiency_series(["best-5", "best-20", "random-5-0.5", "random-5", "labels"]) == [("best", 0.0)]
    summary = summary_of(tmp_path, several_kinds())
    figure = efficiency(summary, "best", 0.0)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    rewards, costs = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["weight 0", "best weight", "BC-All", "BC-Safe", "CPL-KL", "TraC"]
    control = summary.suites.query("suite == 'All' and method == 'prefine' and weight == 0").set_index("preferred")
    drawn = costs.lines[0]
    assert drawn.get_xdata().tolist() == [20, 100]
    assert drawn.get_ydata().tolist() == control.loc[["best-20", "best-100"], "normalized_cost"].tolist()
    cloned = next(line for line in costs.lines[1:] if line.get_color() == "#555555")
    assert len(set(cloned.get_ydata())) == 1  # BC-Safe knows no preferences: a level line
    assert rewards.get_xlabel() == "number of preferred trajectories"


def test_budgets_are_told_against_steps_and_seconds(tmp_path: Path):
    folders = []
    for steps in (100, 400):
        folder = write_results(tmp_path / str(steps), several_kinds(), with_training=True)
        trials = pd.read_parquet(folder / "trials.parquet")
        trials = trials.assign(steps=np.where(trials["method"] == "base", np.nan, steps), wall_s=steps / 50)
        trials.to_parquet(folder / "trials.parquet")
        folders.append(folder)
    table, csv, picture = make_budget_report(folders, tmp_path / "out")
    rows = pd.read_csv(csv)
    assert rows["method"].value_counts().to_dict() == dict.fromkeys(
        ["prefine", "best weight", "bc_all", "bc_safe", "cpl", "trac"], 2
    )
    assert set(zip(rows["steps"], rows["seconds"], strict=True)) == {(100, 2), (400, 8)}
    best = summary_of(tmp_path / "alone", several_kinds()).suites.query(
        "suite == 'All' and method == 'best weight' and preferred == 'best-100'"
    )
    assert set(rows.query("method == 'best weight'")["normalized_cost"].round(5)) == {
        round(best["normalized_cost"].item(), 5)
    }
    assert picture.stat().st_size > 10_000
    assert [line.split(" | ")[1].strip() for line in table.read_text().splitlines()[4:6]] == ["100", "400"]


def test_a_budget_needs_the_rows_of_the_cells(tmp_path: Path):
    folder = write_results(tmp_path, several_kinds())
    with pytest.raises(ResultsError, match=r"trials\.parquet: no such file"):
        make_budget_report([folder], tmp_path)


def test_a_budget_needs_tasks_of_the_benchmark(tmp_path: Path):
    rows = synthetic_episodes(tasks=("HopperVelocity",), seeds=1, episodes=2).assign(task="Walker2dVelocity")
    folder = write_results(tmp_path, rows, with_training=True)
    with pytest.raises(ResultsError, match="no task of the benchmark"):
        make_budget_report([folder], tmp_path)
