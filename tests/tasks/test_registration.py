from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import prefine_ray as pr
from prefine_ray.tasks.definition import OwnTaskError
from prefine_ray.tasks.registration import add_tasks, own_definitions
from prefine_ray.tasks.spec import TASKS, UnknownTaskError, get_task
from tests.own_tasks import TOY, table_restored, toy_task


@pytest.fixture(autouse=True)
def _table():
    with table_restored():
        yield


def test_sizes_horizon_and_code_are_those_of_the_environment():
    task = toy_task(env="toy_envs:ToyWalk-v0", horizon=None)
    assert (task.obs_dim, task.act_dim, task.horizon) == (2, 2, 20)
    assert task.thresholds == (2.0, 5.0, 10.0)
    assert task.middle_threshold == 5.0
    assert task.normalized_reward(0.0) == 0.5
    assert len(task.definition.code) == 16
    assert get_task("Toy") is task


def test_the_same_definition_again_changes_nothing_and_another_is_an_error():
    task = toy_task()
    assert toy_task() is task
    with pytest.raises(
        OwnTaskError, match=r"Toy with another definition \(horizon: 20 instead of 30\); choose another"
    ):
        toy_task(horizon=30)
    assert get_task("Toy") is task


def test_a_worker_adds_what_it_is_given_without_making_an_environment():
    toy_task()
    travelled = pickle.loads(pickle.dumps(own_definitions(["Toy", "BallRun"])))
    del TASKS["Toy"]
    moved = {"Toy": travelled["Toy"].model_copy(update={"folder": "/nowhere"})}
    add_tasks(moved)
    assert get_task("Toy").obs_dim == 2
    add_tasks(travelled)  # the folder is no part of the definition


def test_a_changed_source_file_is_another_definition(tmp_path: Path):
    def defined(text: str) -> str:
        (tmp_path / "changing.py").write_text(f"from toy_envs import Walk as Base\nclass Walk(Base): {text}\n")
        with table_restored():
            return toy_task("Changing", env="changing:Walk", folder=str(tmp_path)).definition.code

    toy_task()  # puts the folder of toy_envs onto the path
    assert defined("pass") != defined("x = 1")


def test_data_alone_need_no_environment():
    task = toy_task(env="none", observations=3, actions=1)
    assert not task.has_environment
    with pytest.raises(OwnTaskError, match="no environment"):
        pr.make_env("Toy")


@pytest.mark.parametrize(
    ("changes", "expected"),
    {
        "no module": ({"env": "no_such:Walk"}, "Toy.env: no_such:Walk: no module 'no_such'; set folder"),
        "no function": ({"env": "toy_envs:Wlak"}, "no attribute 'Wlak'; the form is module:function"),
        "no id": ({"env": "NoSuch-v0"}, "write my_module:NoSuch-v0"),
        "raises": ({"env": "broken"}, "making it raised OSError: no scene file"),
        "no environment": ({"env": "no_environment"}, "gave int, not a gymnasium.Env"),
        "discrete": ({"env": "Choices"}, "its actions are Discrete(3); PREFINE trains Gaussian policies"),
        "unbounded": ({"env": "Unbounded"}, "no finite low and high"),
        "images": ({"env": "Camera"}, "images or tables (8, 8, 3)"),
        "words": ({"env": "Words"}, "observations['kind'] are Discrete(2); only Box"),
        "endless": ({"env": "toy_envs:ToyEndless-v0", "horizon": None}, "Toy.horizon: the environment has no time"),
        "sizes": ({"observations": 5}, "Toy.observations: 5, but the environment has 2; leave it out"),
        "range": ({"reward_range": [1, 1]}, "Toy.reward_range: [low, high] with low < high"),
        "range of data": ({"reward_range": "data"}, "Toy.reward_range: [low, high] is needed"),
        "thresholds": ({"thresholds": [-1]}, "Toy.thresholds: Input should be greater than or equal to 0"),
        "none without sizes": ({"env": "none"}, "observations is needed where env is none"),
        "unknown key": ({"treshold": 3}, "Toy.treshold: Extra inputs"),
        "our name": ({"name": "BallRun"}, "BallRun: there is a task of this name already"),
        "bad name": ({"name": "a/b"}, "a/b: a name of letters"),
    }.values(),
)
def test_what_cannot_be_used_is_refused_in_one_line(changes, expected):
    with pytest.raises(OwnTaskError) as error:
        toy_task(**{"name": "Toy", **changes})
    assert expected in str(error.value), str(error.value)
    assert "\n" not in str(error.value)
    assert "Toy" not in TASKS


def test_an_installed_package_brings_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "plug-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[prefine_ray.tasks]\nPlugged = toy_envs:DEFINITION\nBad = toy_envs:HORIZON\nGone = toy_envs:nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(TOY)
    assert get_task("Plugged").obs_dim == 2
    assert "Plugged" in TASKS
    with pytest.raises(OwnTaskError, match="gives int; a dictionary with env"):
        get_task("Bad")
    with pytest.raises(OwnTaskError, match="task Gone: the entry point toy_envs:nothing"):
        get_task("Gone")
    with pytest.raises(UnknownTaskError):
        get_task("Plagued")
