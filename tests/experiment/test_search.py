"""The search's decisions, without Ray; the search as a user starts it is in test_search_run.py."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml

from prefine_ray.analysis.search_report import best_snippet, markdown, pareto_front, report_search, trial_table
from prefine_ray.experiment.config import (
    ConfigError,
    config_type,
    dump_config,
    load_config,
    parse_config,
    parse_config_as,
)
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_trials import (
    Outcome,
    SearchTrial,
    cutoffs,
    make_trial,
    mean_scores,
    rung_rank,
    rungs,
)
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.spec import get_task

TASK = get_task("BallRun")
INPUTS = {TASK.name: shared_inputs("data.hdf5", "d", "base.safetensors", "b")}
SPACE = {
    "weight": {"low": 0.5, "high": 50, "log": True},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "advanced.segment": {"low": 1, "high": 4},
    "temperature": [0.5, 1.0],
}
CONFIG = {
    "name": "mini",
    "tasks": ["BallRun"],
    "tuning_seeds": 2,
    "finetune": {"steps": 100},
    "search": {"trials": 14, "round": 3, "space": SPACE, "early_stopping": "asha", "first_rung": 10},
}


def config(**settings) -> SearchConfig:
    """CONFIG with these settings of the search."""
    return config_type(SearchConfig)(**{**CONFIG, "search": {**CONFIG["search"], **settings}})


def write_trial(results: ResultsDir, number: int, trial: SearchTrial, score: dict[int, tuple[float, float]]) -> None:
    """The rows of a trial that had these (normalised reward, normalised cost) at these steps."""
    cells = trial.pack.cells
    spread = TASK.reward_max - TASK.reward_min
    episodes = [
        {
            **cell.identity,
            "stage": "finetuned" if step == max(score) else "rung",
            "step": step,
            "episode": 0,
            "return": TASK.reward_min + spread * reward,
            "cost": cost * TASK.middle_threshold,
            "terminated": False,
        }
        for step, (reward, cost) in score.items()
        for cell in cells
    ]
    asked = {f"search.{key}": value for key, value in trial.values.items()}
    common = {"number": number, "steps": max(score), "wall_s": 1.0, "status": "finished", "error": "", **asked}
    trials = [{**cell.identity, **common} for cell in cells]
    results.write_part(trial.pack.name, {"episodes": pd.DataFrame(episodes), "trials": pd.DataFrame(trials)})


def made_up(values: dict) -> dict[int, tuple[float, float]]:
    """Scores that depend on the values."""
    cost = 3 / values["weight"] + 100 * values["learning_rate"]
    return {step: (0.9 - 0.01 * values["weight"], cost + 1 / step) for step in (10, 30, 90, 100)}


def drive(root: Path, settings: SearchConfig, at_once: int, last_first: bool = False, stop_after: int = 10**6) -> list:
    """Runs a search by hand, `at_once` trials at a time; what was suggested, by number."""
    results = ResultsDir(root)
    searcher = RoundSearch(settings, partial(make_trial, settings, inputs=INPUTS), results)
    running: list[tuple[str, dict]] = []
    suggested, ended = {}, 0
    while True:
        answer = searcher.suggest(f"tune-{len(suggested)}") if len(running) < at_once else None
        if isinstance(answer, dict):
            suggested[answer["number"]] = answer
            running.append((f"tune-{len(suggested) - 1}", answer))
            continue
        if not running or ended == stop_after:
            break
        name, answer = running.pop(-1 if last_first else 0)
        write_trial(results, answer["number"], answer["trial"], made_up(answer["trial"].values))
        searcher.on_trial_complete(name, {})
        ended += 1
    return [(number, suggested[number]["trial"].values, suggested[number]["cutoffs"]) for number in sorted(suggested)]


def test_suggestions_do_not_depend_on_who_is_faster(tmp_path):
    first = drive(tmp_path / "1", config(), at_once=1)
    assert len(first) == 14
    assert drive(tmp_path / "2", config(), at_once=3, last_first=True) == first
    assert drive(tmp_path / "3", config(), at_once=2) == first


def test_results_change_the_suggestions_and_the_seed_does(tmp_path):
    first = [values for _, values, _ in drive(tmp_path / "1", config(), at_once=1)]
    assert len({str(values) for values in first}) == 14
    other = config().model_copy(update={"seed": 1})
    assert all(a != b for a, (_, b, _) in zip(first, drive(tmp_path / "2", other, at_once=1), strict=True))


def test_a_search_goes_on_where_it_was_cut(tmp_path):
    whole = drive(tmp_path / "whole", config(), at_once=2)
    drive(tmp_path / "cut", config(), at_once=2, stop_after=7)
    rest = drive(tmp_path / "cut", config(), at_once=2)
    assert 5 <= len(rest) < 14  # those that had ended are not run again
    assert rest == [entry for entry in whole if entry[0] in {number for number, _, _ in rest}]
    assert drive(tmp_path / "cut", config(), at_once=2) == []
    grown = drive(tmp_path / "cut", config(trials=16), at_once=2)
    assert [number for number, _, _ in grown] == [14, 15]


def test_suggestions_stay_in_the_space_and_are_tidy(tmp_path):
    for _, values, _ in drive(tmp_path, config(), at_once=1):
        assert 0.5 <= values["weight"] <= 50
        assert values["advanced.segment"] in (1, 2, 3, 4)
        assert values["temperature"] in (0.5, 1.0)
        assert values["learning_rate"] == float(f"{values['learning_rate']:.3g}")


def test_rungs_and_cutoffs():
    assert rungs(config()) == (10, 30, 90)
    assert rungs(config(early_stopping=None)) == ()
    earlier = [Outcome({10: (0.1 * i, 0.5), 30: (0.5, 0.5)}, failed=False) for i in range(4)]
    earlier.append(Outcome({10: (0.9, 1.5)}, failed=False))  # unsafe: under all safe ones
    needed = cutoffs(config(), earlier)
    assert needed[10] == pytest.approx(0.1 + 0.1 * 2 / 3)  # the 2/3 quantile of -1.5e6, 0, 0.1, 0.2, 0.3
    assert needed[30] == 0.5
    assert 90 not in needed
    assert cutoffs(config(), []) == {}


def test_safe_trials_rank_by_reward_over_unsafe_ones_by_cost():
    ordered = [(0.9, 0.2), (0.1, 1.0), (-0.6, 0.0), (2.0, 1.01), (0.0, 5.0)]
    scores = [rung_rank(*point) for point in ordered]
    assert scores == sorted(scores, reverse=True)


def test_a_trial_is_named_by_what_determines_its_rows():
    values = {"weight": 2.0, "learning_rate": 1e-3, "advanced.segment": 1, "temperature": 1.0}
    name = make_trial(config(), values, INPUTS).pack.name
    assert make_trial(config(trials=99, round=1), values, INPUTS).pack.name == name
    assert make_trial(config(), {**values, "advanced.segment": 2}, INPUTS).pack.name != name
    assert make_trial(config(early_stopping=None), values, INPUTS).pack.name != name
    trial = make_trial(config(), values, INPUTS)
    assert [cell.axes["weight"] for cell in trial.pack.cells] == [2.0, 2.0]
    assert trial.pack.settings.learning_rate == 1e-3


def test_mean_scores_show_a_policy_that_diverged():
    sums = {"return": [0.0, 0.0, 1.0, float("nan")], "cost": [10.0, 30.0, 1.0, 2.0]}
    rows = pd.DataFrame({"step": [1, 1, 2, 2], **sums, "terminated": False})
    scores = mean_scores(rows, "BallRun", 20.0)
    assert scores[1][1] == 1.0
    assert scores[2][0] != scores[2][0]


def test_pareto_front():
    rewards, costs = [1.0, 0.5, 0.5, 0.4, 1.0], [2.0, 0.5, 0.6, 0.5, 2.0]
    assert pareto_front(rewards, costs) == [True, True, False, False, True]
    assert pareto_front([], []) == []


def test_report_marks_the_front_and_gives_a_config_to_paste(tmp_path):
    settings = config()
    results = ResultsDir(tmp_path)
    results.write_config(dump_config(settings))
    assert results.is_search
    points = {0: (0.9, 1.5), 1: (0.5, 0.4), 2: (0.4, 0.6), 3: (0.2, 0.1)}
    for number, point in points.items():
        values = {"weight": 1.5 + number, "learning_rate": 1e-3, "advanced.segment": 2, "temperature": 0.5}
        write_trial(results, number, make_trial(settings, values, INPUTS), {10: (0.0, 9.0), 30: point})
    table = trial_table(results)
    assert table["number"].tolist() == [0, 1, 2, 3]
    assert table["front"].tolist() == [True, True, False, True]
    assert table["safety"].tolist() == ["unsafe", "safe", "safe", "safe"]
    assert table.loc[table["chosen"], "number"].tolist() == [1]
    assert table["normalized_reward"].tolist() == pytest.approx([0.9, 0.5, 0.4, 0.2])
    text = markdown(table, settings)
    assert [line.split(" | ")[0] for line in text.splitlines() if "[" in line][:4] == ["| 1", "| 2", "| 3", "| 0"]
    paths, _ = report_search(tmp_path, settings)
    assert all(path.stat().st_size > 5000 for path in paths.plots)
    sweep = parse_config(yaml.safe_dump({"name": "best", **yaml.safe_load(best_snippet(table, settings))}), "best")
    finetune = sweep.settings("prefine")
    assert sweep.axis_values("weight", "BallRun") == (0.0, 2.5)
    assert (finetune.advanced.segment, finetune.steps, finetune.temperature) == (2, 30, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"betta": [1, 2]}}, "f.yaml: search.space: betta: unknown key. Did you mean 'beta'?"),
        ({"space": {**SPACE, "beta": {"low": 0, "high": 1}}}, "search.space.beta: Input should be greater than 0"),
        ({"space": {"beta": {"low": 1, "high": 1}}}, "search.space: beta: low must be below high"),
        ({"space": {"beta": {"low": 1, "hihg": 2}}}, "search.space: beta: high: Field required"),
        ({"space": {"beta": 3}}, "search.space: beta: give {low: 0.01, high: 1, log: true}"),
        ({"space": {**SPACE, "advanced.segment": {"low": 1.5, "high": 2}}}, "search.space.advanced.segment"),
        ({"space": {**SPACE, "schedule": ["cosine", "line"]}}, "search.space.schedule"),
        ({"space": {"beta": [0.1, 0.2]}}, "search.space.weight: give a range here"),
        ({"space": {**SPACE, "steps": [10, 20]}}, "search.space.steps: early stopping chooses the steps"),
        ({"trails": 3}, "search.trails: unknown key. Did you mean 'trials'?"),
        ({"first_rung": 100}, "search.first_rung: must be below finetune.steps, 100"),
    ],
)
def test_errors_name_the_file_and_the_key(change, message):
    text = yaml.safe_dump({**CONFIG, "search": {**CONFIG["search"], **change}})
    with pytest.raises(ConfigError) as caught:
        parse_config_as(SearchConfig, text, "f.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.yaml: ")


def test_configs_round_trip_and_are_not_mixed_up(tmp_path):
    assert parse_config_as(SearchConfig, dump_config(config()), "c") == config()
    shipped = Path(__file__).parents[2] / "tune_configs" / "search.yaml"
    assert parse_config_as(SearchConfig, shipped.read_text(), shipped).search.trials > 1
    with pytest.raises(ConfigError, match="run `prefine search"):
        load_config(shipped)
    own = {**CONFIG, "task_settings": {"BallRun": {"finetune": {"beta": 0.2}}}}
    with pytest.raises(ConfigError, match="task_settings: a search has one task"):
        parse_config_as(SearchConfig, yaml.safe_dump(own), "f.yaml")
    two = yaml.safe_dump({**CONFIG, "tasks": ["BallRun", "CarRun"]})
    with pytest.raises(ConfigError, match="tasks: a search has exactly one"):
        parse_config_as(SearchConfig, two, "f.yaml")
