from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import Summary, summarize
from prefine_ray.analysis.tables.all_tables import all_tables
from prefine_ray.analysis.tables.cells import Cell, Column, Row, Table
from prefine_ray.analysis.tables.details import rank_correlation
from prefine_ray.analysis.tables.formats import header_groups, to_latex, to_markdown, to_text
from prefine_ray.analysis.tables.headline import headline_sentence, headline_tables
from prefine_ray.tasks.spec import get_task
from tests.analysis.synthetic import synthetic_episodes, write_results

SMALL = Table(
    title="A & B",
    caption="All of it, 95 %.",
    columns=(
        Column("Task", numeric=False),
        Column("Policy", numeric=False),
        Column("Reward", "Ours"),
        Column("Cost", "Ours"),
    ),
    rows=(
        Row((Cell("CarRun"), Cell("weight 1 ★ †"), Cell("0.50", "[0.40, 0.60]", "safe"), Cell("0.90", "", "safe"))),
        Row((Cell("CarRun"), Cell("weight 0"), Cell("-0.25", "", "unsafe"), Cell("\u2013", "", ""))),
    ),
)
SMALL = Table(SMALL.title, SMALL.caption, SMALL.columns, (SMALL.rows[0], Row(SMALL.rows[1].cells, first=False)))


def summary_of(folder: Path, rows: pd.DataFrame) -> Summary:
    return summarize(load_results(write_results(folder, rows)))


def text_of(tables: list[Table], title: str) -> str:
    return next(to_markdown(table) for table in tables if table.title.startswith(title))


def line_of(markdown: str, *starts: str) -> list[str]:
    """The cells of the first line that has these texts in its first columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return next(
        cells for cells in lines if all(cell.startswith(start) for cell, start in zip(cells, starts, strict=False))
    )


def test_markdown_by_hand():
    assert to_markdown(SMALL).splitlines() == [
        "## A & B",
        "",
        "| Task   | Policy       |          Ours: Reward | Ours: Cost |",
        "| ------ | ------------ | --------------------: | ---------: |",
        "| CarRun | weight 1 ★ † | **0.50** [0.40, 0.60] |   **0.90** |",
        "|        | weight 0     |               *-0.25* |          \u2013 |",
        "",
        "All of it, 95 %.",
    ]


def test_latex_by_hand():
    latex = to_latex(SMALL)
    assert r"\caption{A \& B. All of it, 95 \%.}" in latex
    assert r"\multicolumn{2}{c}{Ours}" in latex
    assert r"CarRun & weight 1 $\star$ $\dagger$ & \textbf{0.50} {\scriptsize [0.40, 0.60]} & \textbf{0.90} \\" in latex
    assert r" & weight 0 & \textcolor{gray}{$-$0.25} & -- \\" in latex
    assert latex.count("{") == latex.count("}")


def test_text_by_hand():
    lines = to_text(SMALL).splitlines()
    assert lines[1].split() == ["Task", "Policy", "Reward", "Cost"]
    assert lines[-1].split() == ["weight", "0", "-0.25!", "-"]
    assert "Ours" in lines[0]


def test_columns_without_a_group_stand_alone():
    groups = header_groups(SMALL.columns)
    assert [(name, len(columns)) for name, columns in groups] == [("", 1), ("", 1), ("Ours", 2)]


def test_headline_reads_one_row_per_task_with_its_threshold(tmp_path: Path):
    summary = summary_of(tmp_path, synthetic_episodes(levels=(0, 1, 2), seeds=2, episodes=2))
    (table,) = headline_tables(summary)
    assert len(table.rows) == 10
    thresholds = {row.cells[0].text: row.cells[1].text for row in table.rows}
    assert thresholds["BallRun"] == "20"
    assert thresholds["HopperVelocity"] == "40"
    for words in ("Best weight: of the weights above 0", "picked on the reported episodes", "three thresholds"):
        assert words in table.caption


def test_tables_come_headline_first_and_name_their_threshold(tmp_path: Path):
    summary = summary_of(tmp_path, synthetic_episodes(levels=(0, 2), seeds=2, episodes=2))
    assert [table.title for table in all_tables(summary)] == [
        "Headline: one row per task at its middle cost threshold",
        "Averages at each cost threshold",
        "Effects on every task",
        "PREFINE against the others (cost thresholds: Bullet 10, 40; Safety-Gymnasium 20, 80)",
        "Cost by weight at the middle cost threshold",
        "Suite averages (cost thresholds: Bullet 10, 40; Safety-Gymnasium 20, 80)",
        "Beside the published numbers",
        "Bullet, cost threshold 10",
        "Bullet, cost threshold 40",
        "Safety-Gymnasium, cost threshold 20",
        "Safety-Gymnasium, cost threshold 80",
    ]


def test_averages_at_each_threshold_are_those_of_a_sweep_of_that_threshold_alone(tmp_path: Path):
    every = synthetic_episodes(levels=(0, 1, 2), seeds=2, episodes=2)
    summary = summary_of(tmp_path / "every", every)
    middle = every["threshold"].isna() | (every["threshold"] == every["task"].map(lambda t: get_task(t).thresholds[1]))
    alone = summary_of(tmp_path / "alone", every[middle])
    assert len(alone.levels) == 0
    found = summary.levels[summary.levels["level"] == "middle"].drop(columns="level").reset_index(drop=True)
    expected = alone.suites[alone.suites["suite"] == "All"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    assert summary.levels["level"].unique().tolist() == ["low", "middle", "high"]


def test_the_table_of_thresholds_tells_the_control_the_best_weight_and_what_low_means(tmp_path: Path):
    assert "Averages at each cost threshold" not in titles_of(tmp_path / "one", (1,))
    summary = summary_of(tmp_path / "two", synthetic_episodes(levels=(0, 2), seeds=2, episodes=2))
    [table] = [table for table in all_tables(summary) if table.title == "Averages at each cost threshold"]
    assert [row.cells[0].text for row in table.rows] == ["low"] * 3 + ["high"] * 3
    assert [row.cells[1].text for row in table.rows] == ["base policy", "weight 0", "best weight"] * 2
    assert "Bullet low 10, middle 20, high 40; Safety-Gymnasium low 20, middle 40, high 80" in table.caption


def titles_of(folder: Path, levels: tuple[int, ...]) -> list[str]:
    rows = synthetic_episodes(tasks=("BallRun", "CarRun"), levels=levels, seeds=2, episodes=2)
    return [table.title for table in all_tables(summary_of(folder, rows))]


def test_details_mark_safe_unsafe_best_and_published(tmp_path: Path, two_tasks: pd.DataFrame):
    summary = summary_of(tmp_path, two_tasks)
    details = text_of(all_tables(summary), "Bullet, cost threshold 20")
    base, best = line_of(details, "BallRun", "base policy"), line_of(details, "", "weight 5 ★ †")
    assert base[3].startswith("*4.78* [")  # cost, unsafe
    assert base[6:12] == ["\u2013"] * 6  # nothing is gained against itself
    assert best[2].startswith("**0.49** [")
    assert best[3].startswith("**0.61** [")
    assert best[4:7] == ["0%", "0%", "100%"]
    assert best[12:] == ["0.41", "\u2013", "3 x 5"]  # published reward, no published cost
    assert line_of(details, "", "weight 0")[12] == "\u2013"


def test_a_doubtful_best_weight_is_called_so(tmp_path: Path, two_tasks: pd.DataFrame):
    ours = two_tasks["method"] == "prefine"
    unsafe = two_tasks.assign(cost=two_tasks["cost"].where(~ours, 45.0))
    uncertain = two_tasks.assign(cost=two_tasks["cost"].where(~ours, 9.0 + 11.0 * two_tasks["seed"]))
    for rows, weight in ((unsafe, "*1 (unsafe)*"), (uncertain, "1 (uncertain)")):
        headline = text_of(all_tables(summary_of(tmp_path, rows)), "Headline")
        assert line_of(headline, "BallRun")[8] == weight


def test_published_numbers_stand_in_columns_of_their_own(tmp_path: Path, two_tasks: pd.DataFrame):
    table = text_of(all_tables(summary_of(tmp_path, two_tasks)), "Beside the published")
    head, ball = line_of(table, "Task"), line_of(table, "BallRun")
    published = dict(zip(head[4:], ball[4:], strict=True))
    assert published["Published reward / cost: PREFINE"] == "0.41 / \u2013"
    assert published["Published reward / cost: TraC"] == "0.27 / 0.49"  # without an interval, so without a verdict
    assert published["Published reward / cost: BC-All"] == "0.60 / 5.08"


def test_a_baseline_has_its_own_rows_and_published_numbers(tmp_path: Path, two_tasks: pd.DataFrame):
    cloned = two_tasks[two_tasks["weight"] == 1.0].assign(method="bc-safe", weight=np.nan, preferred="")
    summary = summary_of(tmp_path, pd.concat([two_tasks, cloned]))
    details = text_of(all_tables(summary), "Bullet, cost threshold 20")
    assert line_of(details, "", "bc-safe")[12:14] == ["0.27", "1.46"]
    assert summary.variants == ("best",)
    assert not summary.cells.loc[summary.cells["method"] == "bc-safe", "chosen"].any()


def test_kinds_of_preferences_are_reported_apart(tmp_path: Path):
    rows = synthetic_episodes(tasks=("BallRun",), preferred=("best", "random"))
    titles = [table.title for table in all_tables(summary_of(tmp_path, rows))]
    for start in ("Headline", "Suite", "Beside", "Bullet, cost threshold 20"):
        told = [title for title in titles if title.startswith(start)]
        assert [title.split("preferred: ")[1].split(" ")[0] for title in told] == ["the", "random"]


def test_headline_sentence_counts_by_hand(tmp_path: Path, two_tasks: pd.DataFrame):
    assert headline_sentence(summary_of(tmp_path / "both", two_tasks), "best") == (
        "At its best weight the policy is safe (upper 95 % limit of the mean normalised cost at most 1) on 2 of 2"
        " tasks, uncertain on 0, unsafe on 0; of the 2 whose base policy violates, it is safe on 2, and violations fall"
        " by more than 60 % on 2."
    )
    harmless = two_tasks.assign(cost=two_tasks["cost"].where(two_tasks["task"] == "BallRun", 0.0))
    sentence = headline_sentence(summary_of(tmp_path / "one", harmless), "best")
    assert "of the 1 whose base policy violates, it is safe on 1" in sentence


@pytest.mark.parametrize("missing", ["base", "control", "fine-tuned", "seeds"])
def test_partial_results_leave_dashes(tmp_path: Path, two_tasks: pd.DataFrame, missing: str):
    keep = {
        "base": two_tasks["method"] != "base",
        "control": two_tasks["weight"] != 0.0,
        "fine-tuned": two_tasks["method"] == "base",
        "seeds": (two_tasks["seed"] == 0) | (two_tasks["task"] == "BallRun"),
    }[missing]
    headline = text_of(all_tables(summary_of(tmp_path, two_tasks[keep])), "Headline")
    cells = line_of(headline, "HopperVelocity")
    blank = {position for position, cell in enumerate(cells) if cell == "\u2013"}
    gains = {12, 13, 14}
    expected = {
        "base": {2, 3, 4} | gains,
        "control": {5, 6, 7},
        "fine-tuned": {5, 6, 7, 8, 9, 10, 11} | gains,
        "seeds": set(),
    }[missing]
    assert blank == expected
    assert ("[" in cells[9]) == (missing in ("base", "control"))


def test_the_dial_by_hand():
    weights = [0.0, 1.0, 5.0, 20.0]
    assert rank_correlation(pd.Series([0.9, 0.5, 0.4, 0.1], weights)) == pytest.approx(-1.0)
    assert rank_correlation(pd.Series([0.9, 0.4, 0.5, 0.1], weights)) == pytest.approx(-0.8)
    assert rank_correlation(pd.Series([0.1, 0.2, np.nan, 0.3], weights)) == pytest.approx(1.0)
    assert np.isnan(rank_correlation(pd.Series([0.0] * 4, weights)))


def test_cost_by_weight_has_the_mean_costs_of_a_task_in_its_row(tmp_path):
    summary = summary_of(tmp_path, synthetic_episodes())
    cells = summary.cells[(summary.cells["method"] == "prefine") & (summary.cells["task"] == "BallRun")]
    at_middle = cells[(cells["threshold"] == 20.0) & (cells["preferred"] == summary.variants[0])].sort_values("weight")
    line = line_of(text_of(all_tables(summary), "Cost by weight"), "", "BallRun")
    assert line[2] == "20"
    assert [cell.strip("*") for cell in line[3:-1]] == [f"{cost:.2f}" for cost in at_middle["normalized_cost"]]
    assert float(line[-1]) == pytest.approx(
        rank_correlation(at_middle.set_index("weight")["normalized_cost"]), abs=0.01
    )
