"""Other conditions of evaluation: what each does, and that batching changes nothing."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.trajectories import STEP_DATASETS, Trajectories
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import GaussianPolicy, stack
from prefine_ray.policies.zoo import ZOO
from prefine_ray.rollouts.conditions import CONDITIONS, PLAIN, Condition, UnknownConditionError, get_condition
from prefine_ray.rollouts.evaluation import evaluate, evaluate_under
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from tests.makers import small_policy

SEEDS = [7, 8, 9]


def episodes_of(
    policy: GaussianPolicy, condition: Condition, seeds: list[int] = SEEDS, task: str = "BallRun"
) -> Trajectories:
    copies = policy.population if condition.carry_over else len(seeds)
    with closing(VectorStepper(task, copies, condition.carry_over)) as stepper:
        return rollout(policy, stepper, seeds, condition=condition)


def equal(one: EpisodeSummary, other: EpisodeSummary) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("returns", "costs", "lengths"))


@pytest.mark.parametrize("name", ["", *CONDITIONS])
@pytest.mark.parametrize("task", ["DroneRun", "HopperVelocity"])
def test_policies_in_one_batch_have_the_episodes_that_each_has_alone(task: str, name: str):
    condition = get_condition(name)
    policies = [load_policy(ZOO / task / f"{which}.safetensors") for which in ("base", "finetuned")]
    together = evaluate_under(condition, stack(policies), task, SEEDS * 2)
    for number, policy in enumerate(policies):
        alone = evaluate_under(condition, policy, task, SEEDS)
        assert equal(together.part(3 * number, 3 * number + 3), alone)


def test_episodes_of_a_reused_copy_come_in_the_order_of_the_seeds():
    """Hoppers fall after different times, so that copies begin their next episodes at different ones."""
    policy = stack([small_policy("HopperVelocity", seed=seed) for seed in (0, 1)])
    reused = episodes_of(policy, CONDITIONS["reused"], SEEDS * 2, "HopperVelocity")
    plain = episodes_of(policy, PLAIN, SEEDS * 2, "HopperVelocity")
    assert len({*plain.lengths.tolist()}) > 1
    assert reused.seeds is not None
    assert reused.seeds.tolist() == SEEDS * 2
    assert all(np.array_equal(getattr(reused, name), getattr(plain, name)) for name in STEP_DATASETS)  # no carry-over


def test_a_reused_copy_starts_afresh_and_then_carries_over():
    policy = load_policy(ZOO / "DroneRun" / "finetuned.safetensors")
    first, again = (evaluate_under(CONDITIONS["reused"], policy, "DroneRun", SEEDS) for _ in range(2))
    assert equal(first, again)
    plain = evaluate_under(PLAIN, policy, "DroneRun", SEEDS)
    assert (first.returns == plain.returns).tolist() == [True, False, False]


def test_noise_belongs_to_the_episode():
    """The same whatever ran before, in whichever copy; the two levels see the same draws."""
    policy = small_policy()
    whole = evaluate_under(CONDITIONS["noise3"], policy, "BallRun", SEEDS)
    alone = evaluate_under(CONDITIONS["noise3"], policy, "BallRun", SEEDS[2:])
    with closing(VectorStepper("BallRun", 1)) as stepper:
        in_turn = rollout(policy, stepper, SEEDS, condition=CONDITIONS["noise3"]).summary
    assert equal(whole.part(2, 3), alone)
    assert equal(whole, in_turn)


def test_noise_is_a_share_of_the_policys_own_standard_deviation():
    policy = small_policy(hidden=(16,))
    mean, std = np.zeros(policy.architecture.obs_dim), np.linspace(0.1, 5.0, policy.architecture.obs_dim)
    policy.set_normalization(policy.obs_mean.new_tensor(mean), policy.obs_std.new_tensor(std))
    seen: list[np.ndarray] = []
    frozen = policy.frozen

    class Spy:
        population = 1

        def act(self, observations, noise=None, temperature=1.0):
            seen.append(observations[0].copy())
            return frozen().act(observations, noise, temperature)

    policy.frozen = Spy  # type: ignore[method-assign,assignment]
    found = episodes_of(policy, Condition("", observation_noise=0.02), list(range(40)))
    true = found.observations.reshape(40, 100, -1)
    noise = (np.stack(seen, axis=1) - true) / std
    assert noise.std(axis=(0, 1)) == pytest.approx(0.02, rel=0.06)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 0.002
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("steps", [1, 3])
def test_delayed_actions_act_later_and_the_first_are_zero(steps: int):
    policy = small_policy()
    found = episodes_of(policy, Condition("", action_delay=steps))
    for start in found.starts:
        observations, actions = (x[start : start + 100] for x in (found.observations, found.actions))
        assert (actions[:steps] == 0).all()
        assert np.array_equal(actions[steps:], policy.act(observations[:-steps]))


def test_a_delayed_action_does_not_reach_the_next_episode_of_the_copy():
    policy, delay = small_policy("HopperVelocity"), CONDITIONS["delay1"]
    with closing(VectorStepper("HopperVelocity", 2)) as stepper:
        in_turn = rollout(policy, stepper, [5, 6, 7, 8, 9], condition=delay).summary
    assert equal(in_turn, evaluate_under(delay, policy, "HopperVelocity", [5, 6, 7, 8, 9]))


def test_the_plain_condition_is_the_plain_evaluation():
    policy = small_policy()
    with closing(VectorStepper("BallRun", 2)) as stepper:
        assert equal(evaluate(policy, stepper, SEEDS), evaluate_under(PLAIN, policy, "BallRun", SEEDS))


@pytest.mark.parametrize(("carry_over", "words"), [(False, "carry_over=False"), (True, "a copy each")])
def test_a_stepper_that_does_not_fit_is_refused(carry_over: bool, words: str):
    with closing(VectorStepper("BallRun", 2, carry_over)) as stepper, pytest.raises(ValueError, match=words):
        rollout(small_policy(), stepper, SEEDS, condition=CONDITIONS["reused"])


def test_an_unknown_condition_is_one_clear_error():
    with pytest.raises(UnknownConditionError, match=r"'noise2'. Did you mean 'noise\d'\? Known conditions: reused, "):
        get_condition("noise2")


def test_names_are_those_of_the_records_and_stages():
    assert [condition.stage("finetuned") for condition in (PLAIN, CONDITIONS["delay1"])] == [
        "finetuned",
        "finetuned-delay1",
    ]
    assert all(name == condition.name and name.isidentifier() for name, condition in CONDITIONS.items())
