"""A search over several tasks, kinds of preferred trajectories and thresholds, without Ray."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from prefine_ray.analysis.search.report import best_line, best_snippet, markdown, report_search
from prefine_ray.analysis.search.table import SearchTables, read_search
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.experiment.config import ConfigError, config_type, dump_config, parse_config, parse_config_as
from prefine_ray.experiment.job import TrainingJob
from prefine_ray.experiment.replicates import ReplicateInputs, TaskInputs, draws_from_file, recipes, shared_inputs
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_trials import LEAST_REFERENCE, make_trial, reference_reward
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.orchestration.search.rows import grid_rows, reference_rows
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.spec import get_task
from tests.experiment.test_search import Score, write_pack
from tests.makers import ball_run_episodes

TASKS = ("BallRun", "HopperVelocity", "AntVelocity")
INPUTS = {task: shared_inputs(f"{task}.hdf5", "d", "base.safetensors", "b") for task in TASKS}
START = {"weight": 5.0, "selection.rule": "none", "selection.share": 0.5, "learning_rate": 1e-3}
SPACE = {
    "weight": {"low": 0.5, "high": 50, "log": True},
    "selection.rule": ["none", "likely", "contrast"],
    "selection.share": {"low": 0.1, "high": 0.9},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
}
CONFIG = {
    "name": "all",
    "tasks": list(TASKS),
    "tuning_seeds": 2,
    "preferred": ["best", "random"],
    "thresholds": "all",
    "task_settings": {"AntVelocity": {"thresholds": [20, 40]}},
    "search": {
        "trials": 9,
        "round": 3,
        "space": SPACE,
        "start": START,
        "early_stopping": "tasks",
        "first_rung": 1,
        "reduction_factor": 2,
    },
}


def config(**settings) -> SearchConfig:
    """CONFIG with these settings of the search."""
    return config_type(SearchConfig)(**{**CONFIG, "search": {**CONFIG["search"], **settings}})


def made_up(values: dict, task: str) -> Score:
    """(normalised reward, normalised cost) that depend on the values; much weight ruins Ant."""
    cost = 0.5 + 2 / values["weight"]
    return 0.9 - 0.01 * values["weight"], cost + (3.0 if task == "AntVelocity" and values["weight"] > 20 else 0.0)


def drive(root: Path, settings: SearchConfig, most_packs: int = 10**6) -> dict[int, tuple[dict, list[str]]]:
    """Runs a search by hand until so many packs are done: the values of each trial that ran, and its tasks."""
    results = ResultsDir(root)
    results.write_config(dump_config(settings))
    searcher = RoundSearch(settings, partial(make_trial, settings, inputs=INPUTS), results)
    ran: dict[int, tuple[dict, list[str]]] = {}
    while isinstance(answer := searcher.suggest(f"tune-{len(ran)}"), dict):
        number, trial = answer["number"], answer["trial"]
        ran[number] = trial.values, []
        while not (outcome := searcher.outcome_of(number)).ended:
            if most_packs == 0:
                return ran
            pack, most_packs = trial.packs[outcome.tasks], most_packs - 1
            write_pack(results, number, trial, pack, {500: made_up(trial.values, pack.task)})
            ran[number][1].append(pack.task)
        searcher.on_trial_complete(f"tune-{len(ran) - 1}", {})
    return ran


def test_a_trial_has_one_pack_per_task_with_every_problem_and_one_setting():
    trial = make_trial(config(), {**START, "selection.rule": "likely", "selection.share": 0.3}, INPUTS)
    assert [pack.task for pack in trial.packs] == list(TASKS)
    assert [len(pack.cells) for pack in trial.packs] == [12, 12, 8]  # 2 kinds x 3 (or 2) thresholds x 2 seeds
    for pack in trial.packs:
        assert {(str(cell.axes["selection"]), cell.axes["weight"], cell.split) for cell in pack.cells} == {
            ("likely 0.3", 5.0, "tuning")
        }
        assert {cell.seed for cell in pack.cells} == {2000, 2001}


def test_a_share_without_a_rule_makes_no_other_trial():
    first, second = (make_trial(config(), {**START, "selection.share": share}, INPUTS) for share in (0.2, 0.7))
    assert first.packs == second.packs


def test_the_first_trial_is_the_given_start_and_hopeless_ones_are_not_run_on_every_task(tmp_path):
    ran = drive(tmp_path, config())
    assert ran[0][0] == START
    assert all(tasks == list(TASKS) for number, (_, tasks) in ran.items() if number < 3)  # the first round
    stopped = {number: tasks for number, (_, tasks) in ran.items() if len(tasks) < 3}
    assert stopped
    tables = read_search(ResultsDir(tmp_path), config())
    status = tables.trials.set_index("number")["status"]
    assert set(status.index[status == "stopped"]) == set(stopped)
    assert tables.trials.set_index("number")["tasks"].to_dict() == {n: len(tasks) for n, (_, tasks) in ran.items()}
    assert tables.best is not None
    assert tables.best["status"] == "finished"


@pytest.mark.parametrize("packs", [1, 2, 10, 14])
def test_a_killed_search_resumes_within_a_trial_and_decides_alike(tmp_path, packs):
    whole = drive(tmp_path / "whole", config())
    first = drive(tmp_path / "cut", config(), most_packs=packs)
    assert sum(len(tasks) for _, tasks in first.values()) == packs
    rest = drive(tmp_path / "cut", config())
    for number, (values, tasks) in whole.items():
        before, after = (run[number][1] if number in run else [] for run in (first, rest))
        assert before + after == tasks  # each task once
        assert all(run[number][0] == values for run in (first, rest) if number in run)


def search_of(root: Path, points: list[dict[str, list[Score]]]) -> SearchTables:
    """A folder with one trial per point: (reward, cost) by task, in turns over its cells' thresholds and kinds."""
    settings, results, trials = config(early_stopping=None, trials=len(points)), ResultsDir(root), {}
    results.write_config(dump_config(settings))
    for number, point in enumerate(points):
        trials[number] = make_trial(settings, {**START, "weight": 5.0 + number}, INPUTS)
        for pack in trials[number].packs:
            write_pack(results, number, trials[number], pack, {500: point[pack.task][0]})
    results.write_grid(grid_rows(trials))
    return read_search(results, settings)


def test_a_setting_that_ruins_one_task_does_not_win_however_good_the_others_are(tmp_path):
    even = {task: [(0.6, 0.5)] for task in TASKS}
    ruinous = {**{task: [(0.95, 0.5)] for task in TASKS}, "AntVelocity": [(0.9, 3.0)]}
    tables = search_of(tmp_path, [ruinous, even])
    assert tables.trials["score"].tolist() == pytest.approx(
        [((0.95 + 0.95 - 2 / 3) / 3 - 2 / 3) / 2, 0.6]  # at cost 3: 1/3 - 1
    )
    assert tables.trials["worst_task"].tolist()[0] == "AntVelocity"
    assert tables.best is not None
    assert tables.best["number"] == 1


def test_the_report_tells_which_setting_won_by_how_much_and_where(tmp_path):
    settings = config(early_stopping=None, trials=3)
    points = [{task: [(reward, 0.5)] for task in TASKS} for reward in (0.4, 0.7, 0.6)]
    tables = search_of(tmp_path, points)
    assert best_line(tables, settings) == (
        "best trial: 1, score 0.700 (next, trial 2 0.600; start, trial 0 0.400), 16 of 16 problems safe, "
        "worst task BallRun at 0.70"
    )
    text = markdown(tables, settings)
    rows = [line.split(" | ") for line in text.partition("## The best")[2].splitlines() if line.startswith("| ")]
    assert rows[0][-2:] == ["next, trial 2", "start, trial 0 |"]
    assert len(rows) == 1 + 16
    assert [row[0].strip("| ") for row in rows[1:]] == ["BallRun"] * 6 + ["HopperVelocity"] * 6 + ["AntVelocity"] * 4
    assert rows[1][-3:] == ["0.70", "0.60", "0.40 |"]
    paths, _ = report_search(tmp_path, settings)
    assert all(path.stat().st_size > 5000 for path in paths.plots)
    assert len(paths.problems.read_text().splitlines()) == 1 + 3 * 16
    pasted = parse_config(yaml.safe_dump({"name": "quick", **yaml.safe_load(best_snippet(tables, settings))}), "q")
    assert pasted.axis_values("weight", "BallRun") == (0.0, 6.0)
    assert [str(one) for one in pasted.axis_values("selection", "BallRun")] == ["none"]
    assert pasted.settings("prefine").learning_rate == 1e-3


def test_a_reward_is_measured_by_the_best_episode_under_the_threshold():
    task = get_task("BallRun")
    spread = task.reward_max - task.reward_min
    returns = task.reward_min + spread * np.array([0.5, 0.7, 0.9])
    steps = np.ones(3, dtype=np.int64)
    summary = EpisodeSummary(steps, steps, returns, np.array([5.0, 20.0, 21.0]), np.zeros(3, dtype=bool))
    assert reference_reward(summary, "BallRun", 20.0) == pytest.approx(0.7)
    assert reference_reward(summary, "BallRun", 10.0) == pytest.approx(0.5)
    assert reference_reward(summary, "BallRun", 1.0) == LEAST_REFERENCE


def test_each_replicate_is_measured_by_its_own_episodes(tmp_path):
    drawn = ball_run_episodes()
    whole = replace(drawn, rewards=np.repeat(np.arange(1.0, 9.0, dtype=np.float32), 100))  # returns 100 to 800
    for name, numbers in {"first": np.arange(8), "second": np.arange(8)[::-1]}.items():
        write_dsrl(tmp_path / f"{name}.hdf5", whole.select(numbers))
    first = ReplicateInputs(str(tmp_path / "first.hdf5"), "1", "base.safetensors", "b", (0, 1, 3))
    second = replace(first, data_path=str(tmp_path / "second.hdf5"), data_digest="2", episodes=(1, 2))
    inputs = TaskInputs({2000: first, 2001: second, 2002: replace(first, episodes=None)}, draws="own")
    one_task = {**CONFIG, "tasks": ["BallRun"], "task_settings": {}, "thresholds": [1000.0], "tuning_seeds": 3}
    settings = config_type(SearchConfig)(**{**one_task, "search": {**CONFIG["search"], "early_stopping": None}})
    [pack] = make_trial(settings, START, {"BallRun": inputs}).packs
    rows = reference_rows(TrainingJob(pack, inputs))
    assert rows["cell"].tolist() == [cell.name for cell in pack.cells]
    best = {2000: 400, 2001: 700, 2002: 800}
    expected = [float(get_task("BallRun").normalized_reward(best[seed])) for seed in rows["seed"]]
    assert rows["reference"].tolist() == pytest.approx(expected)


def test_a_trial_is_named_by_the_draw_and_the_base_of_each_tuning_seed():
    one = ReplicateInputs("BallRun.hdf5", "d", "base.safetensors", "b", (0, 1, 2))
    other = replace(one, episodes=(3, 4, 5), base_digest="c")
    both, swapped = (
        {**INPUTS, "BallRun": TaskInputs(of)} for of in ({2000: one, 2001: other}, {2000: other, 2001: one})
    )
    first, second = (make_trial(config(), START, inputs).packs for inputs in (both, swapped))
    assert first[0].name != second[0].name
    assert first[1:] == second[1:]
    with pytest.raises(KeyError, match="no inputs for seed 2001"):
        make_trial(config(), START, {**INPUTS, "BallRun": TaskInputs({2000: one})})


@pytest.mark.parametrize("draws", ["own", "overlapping"])
def test_every_tuning_seed_of_a_search_draws_by_its_number(draws):
    few, more = (config_type(SearchConfig)(**{**CONFIG, "data": {"draws": draws}, "tuning_seeds": n}) for n in (2, 3))
    assert few.data.seed == 2000
    sets, grown = (recipes(one.data, one.seeds, one.tuning_seeds) for one in (few, more))
    assert set(sets) == {2000, 2001}
    assert len({recipe.seed for recipe in sets.values()}) == (2 if draws == "own" else 1)
    assert {seed: grown[seed] for seed in sets} == sets
    parts, grown_parts = (
        draws_from_file(one.data, "BallRun", 2000, one.seeds, one.tuning_seeds) for one in (few, more)
    )
    assert {seed: grown_parts[seed] for seed in parts} == parts
    assert parts[2000] != parts[2001]
    assert (draws == "own") == (not {*parts[2000]} & {*parts[2001]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tuning_seeds": [1000, 2001]}, "tuning_seeds: [1000] are replicates of sweeps; a search's start at 2000"),
        ({"tuning_seeds": 0}, "tuning_seeds: give at least one"),
        ({"seeds": 5}, "seeds: a search reports nothing"),
        ({"data": {"seed": 0}}, "data.seed: data of sweeps; a search's have seeds of at least 2000"),
        ({"task_settings": {"BallRun": {"data": {"seed": 4}}}}, "data.seed: data of sweeps"),
        ({"task_settings": {"BallRun": {"finetune": {"beta": 0.2}}}}, "task_settings.BallRun.finetune: a search looks"),
        ({"selection": ["none", "likely"]}, "selection: a search has one setting at a time"),
        ({"evaluation": {"conditions": ["noise1"]}}, "evaluation.conditions: a search has none"),
        ({"methods": ["prefine", "sft"]}, "methods: a search is for prefine"),
        ({"search": {**CONFIG["search"], "first_rung": 3}}, "search.first_rung: must be below the number of tasks, 3"),
        ({"search": {**CONFIG["search"], "early_stopping": "asha"}}, "search.early_stopping: asha is for one task"),
    ],
)
def test_what_would_share_with_reports_or_differ_between_tasks_is_refused(change, message):
    with pytest.raises(ConfigError) as caught:
        parse_config_as(SearchConfig, yaml.safe_dump({**CONFIG, **change}), "f.yaml")
    assert message in str(caught.value)


def test_data_and_replicates_are_a_searchs_own_by_default():
    found = parse_config_as(SearchConfig, yaml.safe_dump({**CONFIG, "data": {"episodes": 60}}), "f.yaml")
    assert (found.data.seed, found.data.episodes, found.seeds) == (2000, 60, ())
    assert found.tuning_seeds == (2000, 2001)
    assert parse_config_as(SearchConfig, dump_config(found), "again") == found


def test_searched_counterfactuals_ask_for_their_actors():
    settings = config(space={"weight": [1, 5], "counterfactuals": ["learner", "actors"]}, start=None)
    assert settings.needs_counterfactual_actors
    assert not config().needs_counterfactual_actors
    trial = make_trial(settings, {"weight": 5, "counterfactuals": "actors"}, INPUTS)
    assert {pack.shared["counterfactuals"] for pack in trial.packs} == {"actors"}
