"""The headline as numbers, and the policies that stand for it."""

from __future__ import annotations

import json

import pandas as pd

from prefine_ray.analysis.headline_file import headline_values, picked_policies
from prefine_ray.analysis.report import make_report
from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import summarize
from prefine_ray.results.folder import ResultsDir
from tests.analysis.synthetic import synthetic_episodes, write_results


def test_counts_are_those_of_the_headline_and_policies_are_of_the_picked_weight(tmp_path):
    folder = write_results(tmp_path, synthetic_episodes())
    results = load_results(folder)
    summary = summarize(results)
    values = headline_values(summary)
    prefix = "" if len(summary.variants) == 1 else f"{summary.variants[0]}/"
    counted = [values[f"{prefix}{word}_tasks"] for word in ("safe", "uncertain", "unsafe")]
    assert sum(counted) == values[f"{prefix}tasks"] > 0
    policies = picked_policies(summary, results.episodes)
    rows = results.episodes.drop_duplicates("cell").set_index("cell")
    chosen = summary.choices.set_index(["task", "preferred", "threshold"])["weight"]
    assert len(policies) == len(chosen)
    for policy in policies:
        own = rows.loc[policy["cell"]]
        assert own["weight"] == policy["weight"] == chosen[policy["task"], policy["preferred"], policy["threshold"]]
        same = rows[(rows["task"] == own["task"]) & (rows["method"] == "prefine") & (rows["split"] == "test")]
        assert own["replicate"] == same["replicate"].min()


def test_the_report_writes_them(tmp_path):
    folder = write_results(tmp_path, synthetic_episodes())
    make_report(folder)
    content = json.loads(ResultsDir(folder).headline_path.read_text())
    assert set(content) == {"values", "policies"}
    assert pd.DataFrame(content["policies"])["cell"].is_unique
