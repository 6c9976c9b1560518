from pathlib import Path

import pytest

from prefine_ray.experiment.config import (
    ConfigError,
    dump_config,
    load_config,
    make_config,
    parse_assignments,
    parse_config,
)
from prefine_ray.tasks.spec import BENCHMARK

SWEEPS = Path(__file__).parents[2] / "tune_configs"
SHIPPED = sorted(path for path in SWEEPS.glob("*.yaml") if not path.stem.startswith(("search", "label_study")))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nfinetune: {beat: 1}", ["finetune.beat: unknown key", "Did you mean 'beta'", "batch_size"]),
        ("name: a\n'': 1", [": unknown key"]),
        ("name: a\nx[1]: 1", ["x[1]: unknown key"]),
        ("name: a\nfinetune: {'y[': 1}", ["finetune.y[: unknown key", "batch_size"]),
        ("name: a\nweigths: [1]", ["weigths: unknown key", "Did you mean 'weights'"]),
        ("name: a\nfinetune: {steps: many}", ["finetune.steps", "integer", "'many'"]),
        ("name: a\nfinetune: {steps: 0}", ["finetune.steps", "greater than 0"]),
        ("name: a\nfinetune: 5", ["finetune", "(got 5)"]),
        ("name: a\nweights: [-1]", ["weights.0", "greater than or equal to 0"]),
        ("name: a\nweights: [.nan]", ["weights", "finite"]),
        ("name: a\nseeds: 0", ["seeds", "at least 1 item"]),
        ("name: a\nseeds: [1000, 1]\ntuning_seeds: 2", ["tuning_seeds: [1000] are among the reported seeds"]),
        ("name: a\npreferred: [labels]", ["preferences.labels"]),
        ("name: a\npreferred: [labels]\npreferences: {labels: a.csv}", ["data.draws", "shared"]),
        ("name: a\ntasks: [BalRun]", ["tasks", "unknown task 'BalRun'", "Did you mean 'BallRun'"]),
        ("name: a/b", ["name", "pattern"]),
        ("tasks: [BallRun]", ["name", "required"]),
        ("name: [", ["not valid YAML"]),
        ("- 1", ["mapping of keys to values, not list"]),
        ("", ["mapping of keys to values, not NoneType"]),
        ("name: a\ntrac: {alhpa: 1}", ["trac.alhpa: unknown key", "batch_size"]),
        ("name: a\ncpl: {steps: 100}", ["cpl", "bc_steps (200000) must be below steps (100)"]),
        ("name: a\ntrac: {batch_size: 7}", ["trac.batch_size", "multiple of 2"]),
        ("name: a\nmethods: [bc]", ["methods", "unknown method 'bc'", "bc_all", "trac"]),
        ("name: a\nmethods: []", ["methods", "at least 1 item"]),
        ("name: a\npreferences: {num_preferred: []}", ["preferences.num_preferred", "at least 1 item"]),
        ("name: a\npreferences: {num_preferred: [5, 0]}", ["preferences.num_preferred.1", "greater than 0"]),
        ("name: a\npreferences: {label_noise: 2}", ["preferences.label_noise.0", "less than or equal to 1"]),
        ("name: a\nevaluation: {conditions: [reusd]}", ["evaluation.conditions", "Did you mean 'reused'?", "noise1"]),
        ("name: a\ntask_settings: {BalRun: {}}", ["task_settings", "unknown task 'BalRun'"]),
        ("name: a\ntask_settings: {BallRun: {fine: {}}}", ["task_settings.BallRun.fine", "'finetune'"]),
        (
            "name: a\ntask_settings: {CarGoal: {finetune: {beat: 1}}}",
            ["task_settings.CarGoal1.finetune.beat: unknown key", "Did you mean 'beta'"],
        ),
        (
            "name: a\ntask_settings: {BallRun: {preferences: {margin: 3}}}",
            ["task_settings.BallRun.preferences.margin", "less than or equal to 1 (got 3)"],
        ),
        ("name: a\ntask_settings: {BallRun: {finetune: 3}}", ["task_settings.BallRun.finetune", "dictionary", "got 3"]),
        ("name: a\ntask_settings: {CarRun: {thresholds: low}}", ["task_settings.CarRun.thresholds", "'middle'"]),
        (
            "name: a\ncounterfactuals: actors\nfinetune: {advanced: {checkpoint_every: 70}}",
            ["finetune.advanced.checkpoint_every must be a multiple of finetune.advanced.refresh_every"],
        ),
        ("name: a\nselection: likly", ["selection.0.rule", "'likely'", "(got 'likly')"]),
        ("name: a\nselection: {rule: likely, share: 0}", ["selection.0.share", "greater than 0"]),
        # keys of earlier versions
        ("name: a\nfinetune: {keep: 0.3}", ["finetune.keep: this key is gone", "selection: {rule: likely, share: S}"]),
        ("name: a\nfinetune: {keep_by: both}", ["finetune.keep_by: this key is gone", "contrast"]),
        (
            "name: a\nfinetune: {narrow: 0.3}",
            ["finetune.narrow: this key is gone", "the loss alone"],
        ),
        ("name: a\nfinetune: {narrow_by: cost}", ["finetune.narrow_by: this key is gone", "cheapest"]),
        (
            "name: a\nfinetune: {counterfactuals: actors}",
            ["counterfactuals: learner, actors or closed_loop at"],
        ),
        ("name: a\nfinetune: {segment: 4}", ["finetune.segment: write finetune.advanced.segment"]),
        ("name: a\ntrac: {alpha: 1}", ["trac.alpha: write trac.advanced.alpha"]),
        ("name: a\npreferences: {margin: {best: 1}}", ["preferences.margin: one number for all kinds"]),
        (
            "name: a\ntask_settings: {BallRun: {finetune: {narrow: 0}}}",
            ["task_settings.BallRun.finetune.narrow: this key is gone"],
        ),
    ],
)
def test_errors_name_file_key_and_remedy(text, parts):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert [part for part in parts if part not in message] == []


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")


def test_forms_that_mean_the_same():
    config = parse_config("{name: a, tasks: [CarGoal, CarGoal1, BallRun], seeds: 3, weights: [5, 1]}", "x")
    assert config.tasks == ("CarGoal1", "BallRun")
    assert config.seeds == (0, 1, 2)
    assert config.axis_values("weight", "BallRun") == (0.0, 1.0, 5.0)
    assert parse_config("{name: a, tasks: benchmark}", "x").tasks == BENCHMARK


def test_one_or_several_numbers_of_preferred_and_label_noises():
    one = parse_config("{name: a, preferences: {num_preferred: 5, label_noise: 0.2}}", "x").preferences
    several = parse_config("{name: a, preferences: {num_preferred: [5, 20, 5]}}", "x").preferences
    assert (one.num_preferred, one.label_noise) == ((5,), (0.2,))
    assert (several.num_preferred, several.label_noise) == ((5, 20), (0.0,))


def test_every_method_has_its_settings():
    config = make_config(name="a", bc={"steps": 1}, cpl={"bc_steps": 2}, trac={"bc_steps": 3}, finetune={"steps": 4})
    assert config.settings("prefine") is config.settings("sft")
    assert config.settings("bc_all") is config.settings("bc_safe")
    assert (config.settings("prefine").steps, config.settings("bc_all").steps) == (4, 1)
    assert (config.settings("cpl").bc_steps, config.settings("trac").bc_steps) == (2, 3)


def test_thresholds():
    middle, every, listed = (make_config(name="a", thresholds=t) for t in ("middle", "all", (7,)))
    assert middle.axis_values("threshold", "BallRun") == (20.0,)
    assert every.axis_values("threshold", "HalfCheetahVelocity") == (20.0, 40.0, 80.0)
    assert listed.axis_values("threshold", "BallRun") == (7.0,)


def test_overrides_replace_keys():
    assert parse_config("{name: a, seeds: 3}", "x", {"seeds": [9]}).seeds == (9,)


def test_overrides_reach_into_sections():
    text = "{name: a, finetune: {steps: 9, beta: 0.3}, data: null}"
    pairs = ["finetune.steps=7", "data.episodes=50", "seeds=[4, 5]", "task_settings.CarRun.finetune.beta=0.5"]
    config = parse_config(text, "x", parse_assignments(pairs))
    finetune = config.settings("prefine")
    assert (finetune.steps, finetune.beta, config.data.episodes, config.seeds) == (7, 0.3, 50, (4, 5))
    assert config.for_task("CarRun").settings("prefine").beta == 0.5


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("finetune.steps", ["--set finetune.steps", "KEY=VALUE"]),
        ("=3", ["--set =3", "KEY=VALUE"]),
        ("seeds=[1", ["--set seeds=[1", "not valid YAML"]),
        ("finetune.stps=3", ["x: finetune.stps: unknown key", "Did you mean 'steps'"]),
        ("seeds.first=3", ["x: seeds.first: seeds is not a section but 3"]),
        ("finetune.steps=many", ["x: finetune.steps", "got 'many'"]),
    ],
)
def test_wrong_overrides_are_named(pair, expected):
    with pytest.raises(ConfigError) as error:
        parse_config("{name: a, seeds: 3}", "x", parse_assignments([pair]))
    assert all(part in str(error.value) for part in expected), str(error.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_load_and_come_back_from_their_dump(path):
    config = load_config(path)
    assert parse_config(dump_config(config), "dump") == config


def test_there_are_shipped_files():
    assert SHIPPED


def test_a_selection_is_a_word_or_a_rule_with_a_share():
    def written(value: object) -> list[str]:
        return [str(one) for one in make_config(name="t", selection=value).axis_values("selection", "BallRun")]

    assert written("none") == ["none"]
    assert written("contrast") == written({"rule": "contrast"}) == ["contrast 0.5"]
    assert written([{"rule": "likely", "share": 0.3}, "none", "none"]) == ["likely 0.3", "none"]


def test_a_task_has_its_own_thresholds():
    config = make_config(name="a", thresholds="all", task_settings={"CarRun": {"thresholds": [10, 20]}})
    assert config.for_task("CarRun").axis_values("threshold", "CarRun") == (10.0, 20.0)
    assert config.for_task("BallRun").axis_values("threshold", "BallRun") == (10.0, 20.0, 40.0)


def test_a_task_has_its_own_settings():
    text = "{name: a, finetune: {steps: 9, beta: 0.5}, task_settings: {CarGoal: {finetune: {beta: 0.4}}}}"
    config = parse_config(text, "x")
    own = config.for_task("CarGoal1")
    assert (own.settings("prefine").beta, own.settings("prefine").steps) == (0.4, 9)
    assert own == parse_config("{name: a, finetune: {steps: 9, beta: 0.4}}", "x")
    assert config.for_task("BallRun").settings("prefine") == config.settings("prefine")
    assert parse_config(dump_config(config), "x") == config


def test_a_task_keeps_the_advanced_settings_that_it_does_not_name():
    own = "task_settings: {BallRun: {finetune: {advanced: {segment: 2}}}}"
    config = parse_config(f"{{name: a, finetune: {{advanced: {{refresh_every: 10}}}}, {own}}}", "x")
    advanced = config.for_task("BallRun").settings("prefine").advanced
    assert (advanced.segment, advanced.refresh_every) == (2, 10)


def test_one_task_alone_may_need_counterfactual_actors():
    own = "task_settings: {BallRun: {counterfactuals: actors}}"
    assert parse_config(f"{{name: a, tasks: [BallRun, CarRun], {own}}}", "x").needs_counterfactual_actors
    assert not parse_config(f"{{name: a, tasks: [CarRun], {own}}}", "x").needs_counterfactual_actors
