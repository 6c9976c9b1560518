"""Own tasks in configurations: read, refused, and part of every name."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import prefine_ray as pr
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.experiment.cells import base_cells, make_cells
from prefine_ray.experiment.config import ConfigError, dump_config, load_config, parse_config, parse_config_as
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.experiment.search_config import SearchConfig, load_search_config
from prefine_ray.experiment.search_trials import make_trial
from prefine_ray.methods.base import base_policy, clone_name
from prefine_ray.methods.gaussian_cloning import CloneConfig
from prefine_ray.policies.files import PolicyFileError, save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.results.folder import ResultsDir, ResultsFolderError
from prefine_ray.results.own_tasks import add_stored_tasks
from prefine_ray.rollouts.collection import DataConfig, NoBehavioursError, behaviours, make_data_set, recipe_digest
from prefine_ray.rollouts.rollout import run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import TASKS, get_task
from tests.makers import small_policy
from tests.own_tasks import TOY, table_restored, toy_task
from tests.toy.toy_envs import DEFINITION

TASK = {**DEFINITION, "folder": str(TOY)}


@pytest.fixture(autouse=True)
def _table():
    with table_restored():
        yield


def content(**changes) -> dict:
    return {"name": "own", "tasks": ["Toy"], "seeds": 1, "task_definitions": {"Toy": {**TASK, **changes}}}


def parse(text: dict, **overrides):
    return parse_config(yaml.safe_dump(text), "own.yaml", overrides)


def write_data(path: Path, rewards: list[float]) -> str:
    """One-step episodes of two numbers with these rewards; the file's path."""
    count = len(rewards)
    matrix, flags = np.zeros((count, 2), np.float32), np.ones(count, np.bool_)
    numbers = np.array(rewards, np.float32)
    write_dsrl(path, Trajectories(matrix, matrix, matrix, numbers, np.zeros(count, np.float32), flags, ~flags))
    return str(path)


def test_a_configuration_comes_back_from_its_dump_in_a_process_without_the_environment():
    config = parse(content())
    written = dump_config(config)
    assert parse_config(written, "written.yaml") == config
    stored = yaml.safe_load(written)["task_definitions"]["Toy"]
    assert (stored["observations"], stored["actions"], stored["horizon"]) == (2, 2, 20)
    program = "import sys, pickle; config = pickle.load(sys.stdin.buffer); print(config.definitions['Toy'].code)"
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(config), capture_output=True, check=True)
    assert done.stdout.decode().strip() == stored["code"]


def test_what_was_registered_in_python_stands_in_the_dump():
    toy_task()
    config = parse({"name": "own", "tasks": ["Toy", "BallRun"]})
    assert set(yaml.safe_load(dump_config(config))["task_definitions"]) == {"Toy"}
    assert set(config.definitions) == {"Toy"}


@pytest.mark.parametrize(
    "change", [{"thresholds": [1]}, {"reward_range": [0, 9]}, {"horizon": 9}, {"cost_key": "c"}, {"version": "2"}]
)
def test_a_changed_definition_is_in_the_names_of_cells_bases_and_data(change, tmp_path):
    save_policy(small_policy("BallRun"), tmp_path / "p.safetensors", PolicyHeader("BallRun"))

    def names(**changes) -> list[str]:
        with table_restored():
            config = parse({**content(**changes), "thresholds": [3]})
            inputs = {"Toy": shared_inputs("data", "d", "base", "b")}
            cells = [*base_cells(config, inputs), *make_cells(config, inputs)]
            task = get_task("Toy")
            data = recipe_digest(task, DataConfig(), [])
            return [*(cell.name for cell in cells), data, clone_name(task, "d", 0, CloneConfig(), "clone")]

    assert names() == names()
    assert not {*names()} & {*names(**change)}


def test_reward_range_of_data_is_that_of_the_file(tmp_path: Path):
    source = write_data(tmp_path / "Toy.hdf5", [3.0, -1.0, 7.0])
    config = parse({**content(reward_range="data"), "data": {"source": str(tmp_path / "{task}.hdf5")}})
    assert (get_task("Toy").reward_min, get_task("Toy").reward_max) == (-1.0, 7.0)
    assert config.task_definitions["Toy"].reward_from_data
    assert parse_config(dump_config(config), "again") == config
    other = {"Toy": {"data": {"source": source}}}
    with pytest.raises(ConfigError, match=r"task_settings\.Toy\.data\.source: reward_range: data reads the common"):
        parse_config(dump_config(config), "again", {"task_settings": other})
    write_data(Path(source), [3.0, -2.0])
    written = dump_config(config)
    with table_restored():
        TASKS.pop("Toy")
        assert parse_config(written, "again").task_definitions["Toy"].reward_range == (-2.0, 3.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (content(env="toy_envs:Choices"), "own.yaml: task_definitions.Toy.env: its actions are Discrete(3)"),
        (
            content(reward_range="data"),
            "task_definitions.Toy.reward_range: data needs a trajectory file in data.source",
        ),
        (content(treshold=[1]), "task_definitions.Toy.treshold: unknown key. Did you mean 'thresholds'?"),
        (content(thresholds=[]), "task_definitions.Toy.thresholds:"),
        (content(horizon=0), "task_definitions.Toy.horizon: Input should be greater than 0"),
        ({**content(), "tasks": ["Toi"]}, "unknown task 'Toi'. Did you mean 'Toy'?"),
        ({**content(), "task_definitions": {"Toy": 3}}, "task_definitions.Toy:"),
        ({**content(), "task_definitions": {"CarRun": TASK}}, "CarRun: there is a task of this name already"),
    ],
)
def test_a_wrong_definition_is_one_line(text, expected):
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert expected in str(error.value), str(error.value)
    assert len(str(error.value).splitlines()) == 1, str(error.value)


def test_a_search_needs_an_environment():
    text = {
        "name": "s",
        "tasks": ["Toy"],
        "tuning_seeds": 1,
        "weights": [5],
        "search": {"trials": 1, "space": {"learning_rate": [0.1, 0.2]}},
        "task_definitions": {"Toy": {**TASK, "env": "none", "observations": 2, "actions": 2}},
    }
    with pytest.raises(ConfigError, match="tasks: a search compares evaluation episodes, and Toy has no environment"):
        parse_config_as(SearchConfig, yaml.safe_dump(text), "s.yaml")


def test_a_search_of_an_own_task_is_read_back_without_its_data(tmp_path: Path):
    source = write_data(tmp_path / "Toy.hdf5", [3.0, -1.0, 7.0])
    text = {
        "name": "s",
        "tasks": ["Toy"],
        "thresholds": [3],
        "tuning_seeds": 2,
        "data": {"source": source},
        "search": {"trials": 1, "space": {"weight": {"low": 0.5, "high": 50, "log": True}}},
        "task_definitions": {"Toy": {**TASK, "reward_range": "data"}},
    }
    config = parse_config_as(SearchConfig, yaml.safe_dump(text), "s.yaml")
    inputs = {"Toy": shared_inputs(source, "d", "base", "b", config.definitions)}
    packs = make_trial(config, {"weight": 5.0}, inputs).packs
    results = ResultsDir(tmp_path)
    results.write_config(dump_config(config))
    Path(source).unlink()
    TASKS.pop("Toy")
    add_stored_tasks(results)
    again = load_search_config(results.config_path)
    assert again == config
    assert make_trial(again, {"weight": 5.0}, inputs).packs == packs
    assert [cell.axes["weight"] for cell in packs[0].cells] == [5.0, 5.0]


def test_a_policy_or_a_folder_of_policies_is_rolled_out(tmp_path: Path):
    task = toy_task(thresholds=[2, 5])
    for number in (1, 2):
        save_policy(small_policy("Toy", seed=number), tmp_path / f"p{number}.safetensors", PolicyHeader("Toy"))
    assert [one.path.name for one in behaviours(task, str(tmp_path / "p2.safetensors"))] == ["p2.safetensors"]
    chosen = behaviours(task, str(tmp_path))
    assert [one.path.name for one in chosen] == ["p1.safetensors", "p2.safetensors"]

    def roll_out(units):
        stepper = VectorStepper("Toy", units[0].copies)
        return [run_unit(unit, stepper) for unit in units]

    data = make_data_set(task, DataConfig(episodes=30), chosen, roll_out)
    assert len(data) == 30
    assert set(data.behaviours) == {0, 1}


def test_what_an_own_task_has_not_is_said_with_the_remedy(tmp_path: Path):
    task = toy_task()
    with pytest.raises(
        NoBehavioursError, match=r"Toy: no behaviour policies .* name in data\.source a trajectory file"
    ):
        behaviours(task, "zoo")
    with pytest.raises(PolicyFileError, match="no policy of Toy is shipped; write base: clone"):
        base_policy(task, "zoo")
    with pytest.raises(NoBehavioursError, match="Logged has no environment to collect in"):
        behaviours(toy_task("Logged", env="none", observations=2, actions=2), str(tmp_path))


def test_a_damaged_definition_in_a_results_folder_is_named(tmp_path: Path):
    results = ResultsDir(tmp_path)
    results.write_config("name: a\ntask_definitions: {Toy: {env: x}}\n")
    with pytest.raises(ResultsFolderError, match=r"config\.yaml: task_definitions"):
        add_stored_tasks(results)


def test_the_shipped_example_is_valid_but_for_its_data(tmp_path: Path):
    path = Path(__file__).parents[2] / "examples" / "own_task" / "lane.yaml"
    with pytest.raises(ConfigError, match="data needs a trajectory file"):
        load_config(path)
    folder = {"task_definitions.Lane.folder": str(path.parent), "task_definitions.Lane.reward_range": [0, 150]}
    assert load_config(path, folder).tasks == ("Lane",)
    env = pr.make_env("Lane")
    assert env.reset(seed=0)[0].shape == (2,)
