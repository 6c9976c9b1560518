from __future__ import annotations

import numpy as np
import pytest

import prefine_ray as pr
from prefine_ray.simulators import VectorStepper, make_batch
from prefine_ray.simulators.own_tasks.check import check_task
from prefine_ray.tasks.definition import OwnTaskError
from prefine_ray.tasks.spec import get_task
from tests.own_tasks import table_restored, toy_task
from tests.simulators.reference import (
    assert_global_random_state_is_left_alone,
    assert_observations_are_fresh_and_resting_copies_still,
    assert_seed_and_actions_decide,
)


@pytest.fixture(autouse=True)
def _table():
    with table_restored():
        yield


@pytest.mark.parametrize("env", ["Walk", "Parts", "SixValues"])
def test_seed_and_actions_decide(env: str):
    task = toy_task(env=env)
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 3, 2)).astype(np.float32)
    assert_seed_and_actions_decide(lambda copies: make_batch(task, copies), actions)
    assert_global_random_state_is_left_alone(make_batch(task, 1), 2)
    assert_observations_are_fresh_and_resting_copies_still(make_batch(task, 2))


def test_actions_are_mapped_to_the_environments_box_and_observations_cast():
    batch = make_batch(toy_task(), 1)
    assert batch.reset(0, 1).dtype == np.float32
    for given, taken in (([-1.0, -1.0], [0.0, -4.0]), ([1.0, 5.0], [2.0, 4.0]), ([0.0, 0.5], [1.0, 2.0])):
        batch.step(np.array([given]))
        np.testing.assert_allclose(batch._envs[0].taken, taken)


def test_dict_observations_are_flattened_in_gymnasiums_order():
    task = toy_task(env="Parts")
    observation = make_batch(task, 1).reset(0, 1)
    assert task.obs_dim == 3
    np.testing.assert_allclose(observation, [observation[0], observation[0] ** 2, 1.0], rtol=1e-6)


def test_costs_are_the_third_of_six_values_or_under_the_given_key():
    for name, changes in {"Six": {"env": "SixValues"}, "Key": {"env": "NoCost", "cost_key": "hazard"}}.items():
        batch = make_batch(toy_task(name, **changes), 2)
        batch.reset(0, 1)
        step = batch.step(np.zeros((2, 2)), np.array([True, False]))
        assert step.costs.tolist() == [3.0 if name == "Six" else 1.0, 0.0]


def test_an_episode_ends_at_the_horizon_or_where_the_environment_truncates_it():
    for name, env, length in (("Whole", "Walk", 20), ("Cut", "Short", 3)):
        stepper = VectorStepper(toy_task(name, env=env), 2)
        stepper.reset([1, 2, 3])
        ends = []
        while stepper.active.any():
            step = stepper.step(np.zeros((2, 2)))
            assert not step.terminated.any()
            ends.append(step.truncated.tolist())
        assert len(ends) == 2 * length
        assert [number for number, cut in enumerate(ends, 1) if any(cut)] == [length, 2 * length]
        single = pr.make_env(name)
        single.reset(seed=1)
        for number in range(1, length + 1):
            *_, truncated, _ = single.step(np.zeros(2))
            assert truncated == (number == length)


def test_pictures_are_drawn_where_they_are_asked_for():
    toy_task()
    env = pr.make_env("Toy", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (4, 6, 3)
    toy_task("Blind", env="NoPictures")
    blind = pr.make_env("Blind", render_mode="rgb_array")
    blind.reset(seed=0)
    with pytest.raises(OwnTaskError, match="Blind: it draws no pictures"):
        blind.render()


@pytest.mark.parametrize("env", ["Walk", "Parts", "SixValues", "Short", "NoPictures"])
def test_good_environments_pass_every_check(env: str):
    findings = check_task(toy_task(env=env))
    assert [finding.what for finding in findings] == ["spaces", "episodes", "seeds", "copies", "pictures"]
    assert all(finding.ok for finding in findings), findings


def test_our_own_tasks_pass_every_check():
    assert all(finding.ok for finding in check_task(get_task("BallRun")))


@pytest.mark.parametrize(
    ("env", "failing", "expected"),
    [
        ("GlobalRandom", {"seeds", "copies"}, "draw all randomness from self.np_random"),
        ("CarriesOver", {"seeds"}, "an environment that ran another episode between"),
        ("SharesState", {"copies"}, "a second environment in the same process changes the numbers"),
        ("NoCost", {"episodes", "seeds", "copies"}, "info has no 'cost' but 'hazard'; set cost_key"),
        ("NegativeCost", {"episodes", "seeds", "copies"}, "the cost of a step is -1; costs are 0 or more"),
        ("NaNCost", {"episodes", "seeds", "copies"}, "the cost of a step is nan; a finite number"),
        ("WordCost", {"episodes", "seeds", "copies"}, "the cost of a step is 'much'; a number is needed"),
        ("NaNReward", {"episodes", "seeds", "copies"}, "the reward of a step is nan"),
        ("NaNObservation", {"spaces", "episodes", "seeds", "copies", "pictures"}, "an observation holds NaN"),
        ("WrongSize", {"spaces", "episodes", "seeds", "copies", "pictures"}, "has 3 numbers, its space 2"),
        ("OldReset", {"spaces", "episodes", "seeds", "copies", "pictures"}, "reset gives no pair"),
        ("OldStep", {"episodes", "seeds", "copies"}, "step gives 4 values"),
        ("BadPicture", {"pictures"}, "an array [height, width, 3] of bytes is needed"),
        ("Raises", {"episodes", "seeds", "copies"}, "raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(env: str, failing: set[str], expected: str):
    bad = {finding.what: finding.text for finding in check_task(toy_task(env=env)) if not finding.ok}
    assert set(bad) == failing, bad
    assert any(expected in text for text in bad.values()), bad
    assert all("\n" not in text for text in bad.values())
