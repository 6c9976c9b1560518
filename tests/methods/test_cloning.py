from __future__ import annotations

import numpy as np
import torch

from prefine_ray.methods.gaussian_cloning import CloneConfig, clone
from tests.makers import ball_run_episodes, small_policy

CONFIG = CloneConfig(steps=150, batch_size=128, hidden=(32,))


def test_clone_imitates_the_policy_behind_noisy_actions():
    data = ball_run_episodes().select(range(5))
    target = small_policy().act(data.observations)
    policy = clone(data, CONFIG, seed=0)
    untrained = clone(data, CloneConfig(steps=1, hidden=(32,)), seed=0)
    errors = [np.abs(p.act(data.observations) - target).mean() for p in (policy, untrained)]
    assert errors[0] < 0.7 * errors[1]
    mean = torch.from_numpy(data.observations.mean(0))
    torch.testing.assert_close(policy.obs_mean[0, 0], mean, rtol=1e-4, atol=1e-4)


def test_clone_depends_on_its_seed_alone():
    data = ball_run_episodes()
    short = CloneConfig(steps=5, hidden=(16,))
    first, again, other = (clone(data, short, seed).act(data.observations) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
