from dataclasses import replace

import numpy as np
import pytest
import torch

from prefine_ray.data.counterfactuals import CounterfactualRequest
from prefine_ray.methods.segment_table import SegmentTable, segment_starts
from prefine_ray.policies.files import policy_bytes
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.rollouts.counterfactuals import CounterfactualGenerator
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from tests.makers import ball_run_episodes, small_policy


def request(**changes) -> CounterfactualRequest:
    content = policy_bytes(small_policy(seed=3), PolicyHeader("BallRun"))
    return replace(CounterfactualRequest(content, 7, np.array([4, 1]), 1, 11, 1.0), **changes)


def test_state_matched_keeps_states_and_depends_on_the_seed_only():
    episodes = ball_run_episodes()
    generator = CounterfactualGenerator("BallRun", episodes, "state_matched")
    first, again, other = (generator.generate(request(seed=seed)) for seed in (11, 11, 12))
    assert np.array_equal(first.observations, episodes.select(np.array([4, 1])).observations)
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions, other.actions)
    assert (first.lengths.tolist(), first.policy_step) == ([100, 100], 7)


def test_closed_loop_is_a_rollout_from_the_same_initial_states():
    episodes = ball_run_episodes()
    generator = CounterfactualGenerator("BallRun", episodes, "closed_loop")
    result, again = (generator.generate(request()) for _ in range(2))
    generator.close()
    stepper = VectorStepper("BallRun", 2)
    expected = rollout(small_policy(seed=3), stepper, episodes.seeds[[4, 1]], noise_seed=11)
    stepper.close()
    assert np.array_equal(result.actions, expected.actions)
    assert np.array_equal(result.actions, again.actions)
    firsts = episodes.select(np.array([4, 1])).observations[[0, 100]]
    assert np.array_equal(result.observations[[0, 100]], firsts)


def test_closed_loop_without_seeds():
    with pytest.raises(ValueError, match="need the reset seed of each episode"):
        CounterfactualGenerator("BallRun", replace(ball_run_episodes(), seeds=None), "closed_loop")


def test_segments_fit_in_both_episodes():
    steps, rows = segment_starts(np.array([10, 50]), np.array([4, 3]), np.array([3, 9]), segment=2)
    assert steps.tolist() == [10, 11, 50, 51]
    assert rows.tolist() == [0, 1, 3, 4]


def test_segments_are_drawn_from_each_member_s_own_pairs():
    pairs = [(np.array([1, 2]), np.array([5, 6])), (np.array([7, 8, 9]), np.array([0, 1, 2]))]
    table = SegmentTable(pairs, torch.device("cpu"))
    uniform = torch.tensor([[0.0, 0.49, 0.5, 0.999999]]).expand(2, 4)
    steps, rows = table.draw(uniform)
    assert steps.tolist() == [[1, 1, 2, 2], [7, 8, 8, 9]]
    assert rows.tolist() == [[5, 5, 6, 6], [0, 1, 1, 2]]


def test_a_segment_longer_than_the_episodes():
    pairs = segment_starts(np.array([0]), np.array([3]), np.array([9]), segment=4)
    with pytest.raises(ValueError, match="no segment fits"):
        SegmentTable([pairs], torch.device("cpu"))


def test_a_diverged_member_is_not_simulated():
    policy = small_policy(seed=3)
    with torch.no_grad():
        next(policy.parameters()).fill_(torch.nan)
    generator = CounterfactualGenerator("BallRun", ball_run_episodes(), "closed_loop")
    result = generator.generate(request(policy=policy_bytes(policy, PolicyHeader("BallRun"))))
    assert np.isnan(result.actions).all()
    assert result.lengths.tolist() == [100, 100]
