import numpy as np
import pytest

from prefine_ray.data.trajectories import STEP_DATASETS, Trajectories
from prefine_ray.policies.files import policy_bytes
from prefine_ray.policies.gaussian import PolicyHeader, stack
from prefine_ray.rollouts.rollout import RolloutUnit, rollout, run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task
from tests.makers import small_policy

SEEDS = [5, 3, 9, 1, 8]


def roll(copies: int = 2, seeds=SEEDS, task: str = "BallRun", **settings) -> Trajectories:
    stepper = VectorStepper(task, copies)
    episodes = rollout(small_policy(task), stepper, seeds, **settings)
    stepper.close()
    return episodes


def same(first: Trajectories, second: Trajectories) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in (*STEP_DATASETS, "seeds"))


@pytest.mark.parametrize("noise_seed", [None, 4])
def test_same_arguments_give_the_same_rows(noise_seed):
    assert same(roll(noise_seed=noise_seed), roll(noise_seed=noise_seed))


def test_a_used_stepper_gives_the_same():
    stepper = VectorStepper("BallRun", 2)
    rollout(small_policy(), stepper, [40, 41, 42], noise_seed=1)
    used = rollout(small_policy(), stepper, SEEDS, noise_seed=4)
    stepper.close()
    assert same(used, roll(noise_seed=4))


@pytest.mark.parametrize("copies", [1, 3, 8])
def test_noise_belongs_to_the_episode_not_to_the_copy(copies):
    expected, other = roll(noise_seed=4), roll(copies, noise_seed=4)
    np.testing.assert_allclose(other.actions, expected.actions, atol=1e-3)
    np.testing.assert_allclose(other.returns, expected.returns, rtol=1e-3, atol=1e-2)


def test_episodes_come_in_the_order_of_the_seeds():
    whole = roll(3)
    assert whole.seeds.tolist() == SEEDS
    for number, seed in enumerate(SEEDS):
        alone = roll(1, [seed])
        assert np.array_equal(alone.observations[0], whole.observations[whole.starts[number]])


def test_noise_changes_actions_and_its_seed_matters():
    quiet, noisy, other, half = (
        roll(noise_seed=n, temperature=t).actions for n, t in ((None, 1.0), (1, 1.0), (2, 1.0), (1, 0.5))
    )
    assert not np.array_equal(noisy, other)
    first = [0, 100, 200]  # initial states are the same: the noise alone differs
    assert np.abs(noisy[first] - quiet[first]).max() > 0.05
    assert np.abs(half[first] - quiet[first]).sum() < np.abs(noisy[first] - quiet[first]).sum()


@pytest.mark.parametrize("task", ["BallRun", "HalfCheetahVelocity"])
def test_episodes_last_to_the_horizon(task):
    horizon = get_task(task).horizon
    episodes = roll(2, [0, 1], task)
    assert episodes.lengths.tolist() == [horizon, horizon]
    assert np.flatnonzero(episodes.timeouts).tolist() == [horizon - 1, 2 * horizon - 1]
    assert not episodes.terminals.any()
    assert np.array_equal(episodes.observations[1:horizon], episodes.next_observations[: horizon - 1])


def test_a_unit_is_a_rollout():
    unit = RolloutUnit("BallRun", policy_bytes(small_policy(), PolicyHeader("BallRun")), np.array(SEEDS), 2, 4, 0.5)
    stepper = VectorStepper("BallRun", 2)
    assert same(run_unit(unit, stepper), roll(noise_seed=4, temperature=0.5))
    stepper.close()


@pytest.mark.parametrize("task", ["BallRun", "HopperVelocity"])
@pytest.mark.parametrize("noise_seed", [None, 4])
def test_policies_in_one_batch_have_the_episodes_that_each_has_alone(task, noise_seed):
    policies, seeds = [small_policy(task, seed=seed) for seed in range(3)], [7, 8, 9, 10]
    stepper, alone = VectorStepper(task, 12), VectorStepper(task, 4)
    together = rollout(stack(policies), stepper, seeds * 3, noise_seed=noise_seed)
    assert len(together) == 12
    if noise_seed is None:
        for number, policy in enumerate(policies):
            expected = rollout(policy, alone, seeds)
            assert same(together.select(np.arange(4 * number, 4 * number + 4)), expected)
    stepper.close()
    alone.close()


def test_policies_in_one_batch_need_a_copy_for_each_seed():
    stepper = VectorStepper("BallRun", 2)
    for seeds in ([1, 2, 3, 4], [1, 2, 3]):
        with pytest.raises(ValueError, match="2 policies need as many copies as seeds"):
            rollout(stack([small_policy(), small_policy()]), stepper, seeds)
    stepper.close()
