"""The search's decisions, without Ray; the search as a user starts it is in tests/orchestration/test_run_search.py."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml

from prefine_ray.analysis.search.outcomes import Outcome, cutoffs, step_scores, stops
from prefine_ray.analysis.search.report import best_line, best_snippet, markdown, report_search
from prefine_ray.analysis.search.table import pareto_front, read_search
from prefine_ray.experiment.cells import Pack
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
from prefine_ray.experiment.search_trials import Rungs, SearchTrial, make_trial, rungs, searched_columns
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.orchestration.search.rows import grid_rows
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.spec import get_task

INPUTS = {"BallRun": shared_inputs("data.hdf5", "d", "base.safetensors", "b")}
SPACE = {
    "weight": {"low": 0.5, "high": 50, "log": True},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "advanced.segment": {"low": 1, "high": 4},
    "temperature": [0.5, 1.0],
}
START = {"weight": 5, "learning_rate": 1e-3, "advanced.segment": 1, "temperature": 0.5}
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


Score = tuple[float, float]


def write_pack(results: ResultsDir, number: int, trial: SearchTrial, pack: Pack, score: dict[int, Score]) -> None:
    """The rows of a trial's pack that had these (normalised reward, normalised cost) at these steps."""
    task = get_task(pack.task)
    spread = task.reward_max - task.reward_min
    episodes = [
        {
            **cell.identity,
            "stage": "finetuned" if step == max(score) else "rung",
            "step": step,
            "episode": 0,
            "return": task.reward_min + spread * reward,
            "cost": cost * cell.axes["threshold"],
            "terminated": False,
        }
        for step, (reward, cost) in score.items()
        for cell in pack.cells
    ]
    common = {"number": number, "steps": max(score), "wall_s": 1.0, "status": "finished", "error": "", "reference": 1.0}
    trials = [{**cell.identity, **common, **searched_columns(trial.values)} for cell in pack.cells]
    results.write_part(pack.name, {"episodes": pd.DataFrame(episodes), "trials": pd.DataFrame(trials)})


def write_trial(results: ResultsDir, number: int, trial: SearchTrial, score: dict[int, Score]) -> None:
    """The rows of all packs of a trial."""
    for pack in trial.packs:
        write_pack(results, number, trial, pack, score)


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


def test_a_cut_search_resumes(tmp_path):
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
    assert rungs(config()).steps == (10, 30, 90)
    assert rungs(config(early_stopping=None)) == Rungs()
    earlier = [Outcome(True, at_rungs={10: 0.1 * i, 30: 0.5}) for i in range(4)] + [Outcome(True, at_rungs={10: -0.3})]
    needed = cutoffs(rungs(config()), 3, earlier)
    assert needed[10] == pytest.approx(0.1 + 0.1 * 2 / 3)  # the 2/3 quantile of -0.3, 0, 0.1, 0.2, 0.3
    assert needed[30] == 0.5
    assert 90 not in needed
    assert cutoffs(rungs(config()), 3, []) == {}


def test_a_trial_is_named_by_what_determines_its_rows():
    values = {"weight": 2.0, "learning_rate": 1e-3, "advanced.segment": 1, "temperature": 1.0}
    [pack] = make_trial(config(), values, INPUTS).packs
    assert make_trial(config(trials=99, round=1), values, INPUTS).packs[0].name == pack.name
    assert make_trial(config(), {**values, "advanced.segment": 2}, INPUTS).packs[0].name != pack.name
    assert make_trial(config(early_stopping=None), values, INPUTS).packs[0].name != pack.name
    assert [cell.axes["weight"] for cell in pack.cells] == [2.0, 2.0]
    assert [(cell.seed, cell.split) for cell in pack.cells] == [(2000, "tuning"), (2001, "tuning")]
    assert pack.settings.learning_rate == 1e-3


def test_a_policy_that_diverged_ends_its_training(tmp_path):
    results, values = (
        ResultsDir(tmp_path),
        {"weight": 2.0, "learning_rate": 1e-3, "advanced.segment": 1, "temperature": 1.0},
    )
    trial = make_trial(config(), values, INPUTS)
    write_trial(results, 0, trial, {10: (0.5, 0.5), 30: (0.4, 0.5)})
    looks, rows = (results.read_part(kind, trial.packs[0].name) for kind in ("episodes", "trials"))
    assert step_scores(looks, rows, [10, 30, 90]) == pytest.approx({10: 0.5, 30: 0.4})
    assert not stops(looks, rows, {30: 0.4 - 1e-9})
    assert stops(looks, rows, {30: 0.41})
    looks.loc[looks["step"] == 30, "return"] = float("nan")
    assert stops(looks, rows, {})


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
    trials = {}
    for number, point in points.items():
        values = {"weight": 1.5 + number, "learning_rate": 1e-3, "advanced.segment": 2, "temperature": 0.5}
        trials[number] = make_trial(settings, values, INPUTS)
        write_trial(results, number, trials[number], {10: (0.0, 9.0), 30: point})
    results.write_grid(grid_rows(trials))
    tables = read_search(results, settings)
    table = tables.trials
    assert table["number"].tolist() == [0, 1, 2, 3]
    assert table["front"].tolist() == [True, True, False, True]
    assert table["safety"].tolist() == ["unsafe", "safe", "safe", "safe"]
    assert table.loc[table["chosen"], "number"].tolist() == [1]
    assert table["normalized_reward"].tolist() == pytest.approx([0.9, 0.5, 0.4, 0.2])
    text = markdown(tables, settings)
    assert [line.split(" | ")[0] for line in text.splitlines() if "[" in line][:4] == ["| 1", "| 2", "| 3", "| 0"]
    assert best_line(tables, settings).startswith(
        "best trial: 1, score 0.500 (next, trial 2 0.400), normalised reward 0.5"
    )
    paths, _ = report_search(tmp_path, settings)
    assert all(path.stat().st_size > 5000 for path in paths.plots)
    sweep = parse_config(yaml.safe_dump({"name": "best", **yaml.safe_load(best_snippet(tables, settings))}), "best")
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
        ({"space": {**SPACE, "preferences.margin": [0.5, 1]}}, "preferences.margin: the label rule is not searched"),
        ({"space": {**SPACE, "selection.rule": ["none", "liekly"]}}, "search.space.selection.rule"),
        ({"space": {**SPACE, "selection.share": {"low": 0.1, "high": 2}}}, "search.space.selection.share"),
        ({"space": {**SPACE, "selection.share": [0.1, 0.2]}}, "search.space.selection.share: the rule is none"),
        ({"start": {"weight": 1}}, "start: give a value for every key of the space and for no other: advanced.segment"),
        ({"start": {**START, "weight": 99}}, "start.weight: 99 is not in the space"),
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
