import numpy as np
import torch

from prefine_ray.core.seeding import derive, episode_seeds, numpy_generator, torch_generator


def test_seeds_are_fixed_for_good():
    """Published results depend on this value."""
    assert derive(0, "BallRun", 1, "evaluation") == derive(0, "BallRun", 1, "evaluation")
    assert 0 <= derive("a") < 2**63


def test_different_parts_give_different_seeds():
    parts = [(0,), ("0",), (0, 0), ("0", "0"), ("00",), (1,), ("a", "b"), ("ab",), ("b", "a"), ()]
    assert len({derive(*part) for part in parts}) == len(parts)


def test_more_episodes_only_append():
    many = episode_seeds(50, 0, "BallRun", "evaluation")
    assert np.array_equal(episode_seeds(20, 0, "BallRun", "evaluation"), many[:20])
    assert (many >= 0).all()
    assert (many < 2**31).all()
    assert len(set(many.tolist()) & set(episode_seeds(50, 0, "BallRun", "collect").tolist())) == 0


def test_generators_follow_their_parts_and_leave_the_global_state():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert numpy_generator(1, "x").random() == numpy_generator(1, "x").random() != numpy_generator(2, "x").random()
    draws = [torch.rand(3, generator=torch_generator(seed, "x")) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
