"""Paired effects of the best weight, and what counts as a success."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prefine_ray.analysis.effects import outcome_counts
from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import Summary, summarize
from prefine_ray.analysis.tables.effects import effects_tables
from prefine_ray.analysis.tables.headline import headline_sentence
from tests.analysis.synthetic import one_episode, write_results

SEEDS = 5
GAPS = {  # (cost of weight 0, cost of weight 5, cost of the base)
    "BallRun": (0.9, 0.3, 3.0),  # lower
    "CarRun": (0.02, 0.0, 3.0),  # the reference costs nothing
    "DroneRun": (0.9, 0.3, 0.5),  # the base does not violate
    "BallCircle": (0.5, 0.9, 3.0),  # higher
    "CarCircle": (0.6, 0.58, 3.0),  # not shown
}


def episodes() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for task, (control, ours, base) in GAPS.items():
        for seed in range(SEEDS):
            common = rng.normal(0.0, 0.05)  # of a seed: paired differences do not see it
            costs = {None: base, 0.0: control + common, 5.0: ours + common + rng.normal(0.0, 0.03)}
            rows += [one_episode(task, seed, 0.6, max(cost, 0.0), weight) for weight, cost in costs.items()]
            rows.append(
                {**one_episode(task, seed, 0.7, control + 0.05 + common, 0.0), "method": "sft", "weight": np.nan}
            )
            rows[-1]["cell"] += "sft"
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summarize(load_results(write_results(tmp_path_factory.mktemp("effects"), episodes())))


def test_outcomes_count_no_success_where_there_is_nothing_to_lower(summary: Summary):
    against_control = summary.effects[summary.effects["reference"] == "weight 0"].set_index("task")
    assert against_control["outcome"].to_dict() == {
        "BallRun": "lower",
        "CarRun": "nothing to lower",
        "DroneRun": "nothing to lower",
        "BallCircle": "higher",
        "CarCircle": "not shown",
    }
    assert outcome_counts(against_control) == {"lower": 1, "higher": 1, "not shown": 1, "nothing to lower": 2}
    assert set(summary.effects["reference"]) == {"weight 0", "SFT"}


def test_differences_are_paired_and_corrected_for_the_number_of_tasks(summary: Summary):
    rows = summary.effects[summary.effects["reference"] == "weight 0"].set_index("task")
    source = (
        episodes().query("method == 'prefine'").pivot_table(index=["task", "seed"], columns="weight", values="cost")
    )
    tests = {task: stats.ttest_rel(group[5.0], group[0.0]) for task, group in source.groupby("task")}
    for task, test in tests.items():
        assert rows.loc[task, "normalized_cost_p"] == pytest.approx(test.pvalue)
        assert rows.loc[task, "normalized_cost_high"] == pytest.approx(test.confidence_interval(0.95).high / 20.0)
    p_values = np.sort([test.pvalue for test in tests.values()])
    assert rows["normalized_cost_holm"].min() == pytest.approx(len(tests) * p_values[0])
    assert (rows["normalized_cost_holm"] >= rows["normalized_cost_p"]).all()


def test_the_table_counts_in_words(summary: Summary):
    [table] = effects_tables(summary)
    assert len(table.rows) == 2 * len(GAPS)
    assert "Against weight 0: of 3 tasks the cost is lower on 1, higher on 1, neither shown on 1;" in table.caption
    assert "nothing to lower on 2 more" in table.caption


def test_a_task_whose_base_is_safe_is_no_success_of_the_headline(summary: Summary):
    sentence = headline_sentence(summary, "best")
    assert (
        "is safe (upper 95 % limit of the mean normalised cost at most 1) on 5 of 5 tasks, uncertain on 0" in sentence
    )
    assert "of the 4 whose base policy violates, it is safe on 4" in sentence


def test_one_seed_tests_nothing(tmp_path: Path):
    rows = episodes().query("seed == 0")
    found = summarize(load_results(write_results(tmp_path, rows))).effects
    assert found["normalized_cost_holm"].isna().all()
    assert set(found["outcome"]) == {"not shown", "nothing to lower"}
