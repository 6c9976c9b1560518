"""The same policies under other conditions of evaluation: never mixed with the plain one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from prefine_ray.analysis.report import make_report
from prefine_ray.analysis.rows import Coverage, load_results
from prefine_ray.analysis.summary import Summary, summarize
from prefine_ray.analysis.tables.all_tables import all_tables
from prefine_ray.analysis.wording import interval_note
from tests.analysis.synthetic import compared_episodes, synthetic_episodes, write_results


def with_conditions(rows: pd.DataFrame, **factors: float) -> pd.DataFrame:
    """The rows, and again under each condition at so many times the cost."""
    again = [rows.assign(stage=rows["stage"] + "-" + name, cost=rows["cost"] * by) for name, by in factors.items()]
    return pd.concat([rows, *again], ignore_index=True)


def summary_of(folder: Path, rows: pd.DataFrame) -> Summary:
    return summarize(load_results(write_results(folder, rows)))


@pytest.fixture
def rows() -> pd.DataFrame:
    return synthetic_episodes(tasks=("BallRun",), seeds=3, episodes=4)


def test_conditions_stand_in_columns_of_their_own(tmp_path: Path, rows: pd.DataFrame):
    plain = summary_of(tmp_path / "plain", rows)
    summary = summary_of(tmp_path / "all", with_conditions(rows, noise3=0.5, delay1=0.25))
    assert summary.conditions == ("noise3", "delay1")
    pd.testing.assert_frame_equal(summary.cells[plain.cells.columns], plain.cells)  # not mixed
    pd.testing.assert_frame_equal(summary.suites, plain.suites)
    cells = summary.cells
    assert cells["normalized_cost_noise3"].tolist() == pytest.approx((cells["normalized_cost"] / 2).tolist())
    assert cells["normalized_cost_delay1_high"].tolist() == pytest.approx((cells["normalized_cost_high"] / 4).tolist())


def test_the_best_weight_has_to_be_safe_in_a_reused_simulator(tmp_path: Path, rows: pd.DataFrame):
    plain = summary_of(tmp_path / "plain", rows).choices["weight"].item()
    demanding = summary_of(tmp_path / "reused", with_conditions(rows, reused=2.5)).choices["weight"].item()
    assert plain < demanding


def test_the_table_of_robustness_and_its_absence(tmp_path: Path, rows: pd.DataFrame):
    tables = all_tables(summary_of(tmp_path / "all", with_conditions(rows, reused=3.0)))
    [table] = [table for table in tables if table.title == "Robustness"]
    assert [column.name for column in table.columns] == ["Task", "Threshold", "Policy", "plain", "reused"]
    assert [row.cells[2].text for row in table.rows][:2] == ["base policy", "weight 0"]
    assert "the evaluation episodes of a policy run one after the other in one simulator" in table.caption
    assert "Robustness" not in [table.title for table in all_tables(summary_of(tmp_path / "plain", rows))]


def test_other_methods_stand_in_the_table_of_robustness(tmp_path: Path, rows: pd.DataFrame):
    compared = with_conditions(compared_episodes(rows), noise1=1.0)
    [table] = [table for table in all_tables(summary_of(tmp_path, compared)) if table.title == "Robustness"]
    assert {"BC-All", "BC-Safe", "TraC"} <= {row.cells[2].text for row in table.rows}
    assert all(row.cells[4].text == row.cells[3].text for row in table.rows)  # the same numbers under noise


def test_the_report_page_shows_the_table(tmp_path: Path, rows: pd.DataFrame):
    page = make_report(write_results(tmp_path, with_conditions(rows, reused=3.0))).page.read_text()
    assert "Robustness" in page
    assert "simulator reused over episodes" in page


def test_rows_of_a_searchs_rungs_are_not_reported(tmp_path: Path, rows: pd.DataFrame):
    rungs = rows.assign(stage="rung", cost=1e6)
    both = summary_of(tmp_path / "both", pd.concat([rows, rungs]))
    pd.testing.assert_frame_equal(both.cells, summary_of(tmp_path / "plain", rows).cells)


def test_the_note_on_intervals_depends_on_what_a_replicate_is(tmp_path: Path, rows: pd.DataFrame):
    own = {"draws": "own", "own_base": True}
    assert summary_of(tmp_path / "shared", rows).coverage == Coverage("shared", own_base=False)
    mixed = rows.assign(draws=["own" if seed == 0 else "shared" for seed in rows["seed"]], own_base=rows["seed"] == 0)
    assert summary_of(tmp_path / "mixed", mixed).coverage == Coverage("shared", own_base=False)
    assert summary_of(tmp_path / "own", rows.assign(**own)).coverage == Coverage("own", own_base=True)
    assert "which share one data set" in interval_note(Coverage())
    assert "one base policy for all" in interval_note(Coverage("own"))
    assert "a data set of its own; its own preferences" in interval_note(Coverage("own", own_base=True))
    assert "as these overlap" in interval_note(Coverage("overlapping"))


def test_a_replicate_of_several_seeds_counts_once(tmp_path: Path, rows: pd.DataFrame):
    paired = summary_of(tmp_path, rows.assign(replicate=rows["seed"] // 2))
    assert set(paired.cells["seeds"]) == {2}
