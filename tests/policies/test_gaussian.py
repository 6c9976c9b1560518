import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from prefine_ray.policies.files import PolicyFileError, load_policy, load_policy_for, policy_bytes, save_policy
from prefine_ray.policies.gaussian import Architecture, PolicyHeader, stack
from prefine_ray.tasks.spec import get_task
from tests.makers import small_policy

KINDS = [
    {},
    {"state_dependent_std": True, "activation": "tanh", "hidden": (8,)},
    {"squash": True, "log_std_bounds": (-1.0, 0.5), "hidden": (8, 4, 6)},
]


def observations(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, get_task("BallRun").obs_dim)).astype(np.float32)


def same_weights(first, second) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("population", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_policy_comes_back_bit_equal(tmp_path, kind, population):
    policy = small_policy(seed=4, population=population, **kind)
    policy.set_normalization(torch.arange(7.0), torch.arange(7.0) + 0.5)
    header = PolicyHeader("BallRun", {"command": "x", "steps": 3}, {"return": 1.5})
    save_policy(policy, tmp_path / "a.safetensors", header)
    loaded = load_policy(tmp_path / "a.safetensors")
    assert same_weights(loaded, policy)
    assert (loaded.architecture, loaded.population, loaded.header) == (policy.architecture, population, header)
    states = observations(population, 5)
    assert np.array_equal(loaded.act(states), policy.act(states))


def test_equal_policies_have_equal_files():
    header = PolicyHeader("BallRun")
    assert policy_bytes(small_policy(seed=1), header) == policy_bytes(small_policy(seed=1), header)
    assert policy_bytes(small_policy(seed=1), header) != policy_bytes(small_policy(seed=2), header)


def write_damaged(path, kind: str) -> None:
    good = policy_bytes(small_policy(), PolicyHeader("BallRun"))
    with_nan = small_policy()
    with torch.no_grad():
        with_nan.weights[1][0, 3, 2] = float("nan")
    contents = {
        "empty": b"",
        "truncated": good[:-100],
        "truncated header": good[:60],
        "random": np.random.default_rng(0).bytes(5000),
        "nan": policy_bytes(with_nan, PolicyHeader("BallRun")),
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "other tensors":
        save_file({"x": torch.zeros(3)}, path)
    elif kind == "header without JSON":
        save_file({"x": torch.zeros(3)}, path, metadata={"prefine_policy": "{"})
    elif kind == "header of a later format":
        save_file({"x": torch.zeros(3)}, path, metadata={"prefine_policy": '{"format": 99}'})
    elif kind == "missing tensors":
        path.write_bytes(good)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file({"obs_mean": torch.zeros(1, 1, 7)}, path, metadata=metadata)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such policy file"),
        ("empty", "not a safetensors file"),
        ("truncated", "not a safetensors file, or damaged"),
        ("truncated header", "not a safetensors file, or damaged"),
        ("random", "not a safetensors file"),
        ("other tensors", "not a policy of this project"),
        ("header without JSON", "header"),
        ("header of a later format", "format 99"),
        ("missing tensors", "do not fit together"),
        ("nan", "weights.1 holds NaN"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path, kind, message):
    path = tmp_path / "bad.safetensors"
    write_damaged(path, kind)
    with pytest.raises(PolicyFileError, match=re.escape(message)) as caught:
        load_policy(path)
    assert str(path) in str(caught.value)


def test_a_policy_of_other_sizes_does_not_load_for_a_task(tmp_path):
    path = tmp_path / "cheetah.safetensors"
    save_policy(small_policy("HalfCheetahVelocity"), path, PolicyHeader("HalfCheetahVelocity"))
    assert load_policy_for(get_task("HalfCheetahVelocity"), path).population == 1
    with pytest.raises(
        PolicyFileError, match=r"made for HalfCheetahVelocity.*17 .* 6 .*; BallRun has 7 and 2"
    ) as caught:
        load_policy_for(get_task("BallRun"), path)
    assert str(path) in str(caught.value)


def test_a_population_does_not_load_as_one_policy(tmp_path):
    save_policy(small_policy(population=2), tmp_path / "two.safetensors", PolicyHeader("BallRun"))
    with pytest.raises(PolicyFileError, match=r"two\.safetensors: holds 2 policies"):
        load_policy_for(get_task("BallRun"), tmp_path / "two.safetensors")


# ------------------------------------------------------------------ populations


@pytest.mark.parametrize("kind", KINDS)
def test_batched_results_are_those_of_single_policies(kind):
    population = small_policy(seed=2, population=3, **kind)
    states = observations(3, 11)
    together = population.act(states)
    assert together.shape == (3, 11, 2)
    for member in range(3):
        alone = population.select(member)
        np.testing.assert_allclose(alone.act(states[member]), together[member], atol=1e-6)
        mean, log_std = alone(torch.from_numpy(states[member])[None])
        actions = torch.from_numpy(together[member : member + 1]) * 0.9
        whole = population(torch.from_numpy(states))
        log_prob = population.log_prob(*whole, (torch.from_numpy(together) * 0.9))[member : member + 1]
        torch.testing.assert_close(alone.log_prob(mean, log_std, actions), log_prob, atol=1e-4, rtol=1e-5)


def test_stack_and_select_are_inverse():
    parts = [small_policy(seed=seed) for seed in range(3)]
    whole = stack(parts)
    assert whole.population == 3
    assert all(same_weights(whole.select(index), part) for index, part in enumerate(parts))
    assert same_weights(whole.select([2, 0]), stack([parts[2], parts[0]]))


def test_selected_members_are_copies():
    whole = small_policy(population=2)
    part = whole.select(1)
    with torch.no_grad():
        part.weights[0].zero_()
    assert whole.weights[0][1].abs().max() > 0


def test_repeat_gives_equal_members():
    single = small_policy(seed=5)
    assert all(same_weights(single.repeat(4).select(index), single) for index in range(4))


def test_different_architectures_do_not_stack():
    with pytest.raises(ValueError, match="different architectures"):
        stack([small_policy(), small_policy(hidden=(8,))])


# ------------------------------------------------------------------ distributions


def test_squashed_log_prob_is_that_of_torch():
    policy = small_policy(squash=True)
    generator = torch.Generator().manual_seed(3)
    mean, log_std = (0.5 * torch.randn(1, 50, 2, generator=generator) for _ in range(2))
    actions = policy.sample(mean, log_std, generator).clamp(-0.99, 0.99)  # atanh loses digits of float32 near 1
    reference = TransformedDistribution(Normal(mean.double(), log_std.double().exp()), [TanhTransform()])
    expected = reference.log_prob(actions.double()).sum(-1).float()
    torch.testing.assert_close(policy.log_prob(mean, log_std, actions), expected, atol=1e-3, rtol=1e-4)


def test_clipped_log_prob_is_the_gaussian_density():
    policy = small_policy()
    generator = torch.Generator().manual_seed(3)
    mean, log_std, actions = (torch.randn(1, 50, 2, generator=generator) for _ in range(3))
    expected = Independent(Normal(mean, log_std.exp()), 1).log_prob(actions.clamp(-1, 1))
    torch.testing.assert_close(policy.log_prob(mean, log_std, actions.clamp(-1, 1)), expected, atol=1e-4, rtol=1e-5)


def test_log_prob_is_finite_at_the_ends_of_the_range():
    for squash in (False, True):
        policy = small_policy(squash=squash)
        mean, log_std = policy(torch.from_numpy(observations(4))[None])
        ends = torch.tensor([-1.0, 1.0]).expand(1, 4, 2)
        assert torch.isfinite(policy.log_prob(mean, log_std, ends)).all()


@pytest.mark.parametrize("squash", [False, True])
def test_samples_stay_in_range_and_follow_the_generator(squash):
    policy = small_policy(squash=squash)
    states = observations(500)
    first, again, other = (policy.act(states, False, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.dtype == np.float32
    assert np.abs(first).max() <= 1.0
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    if not squash:
        assert (np.abs(first) == 1.0).any()  # sigma 0.6: some samples are clipped


def test_samples_have_the_policy_s_moments_and_temperature_scales_sigma():
    policy = small_policy()
    mean, log_std = torch.full((1, 20_000, 2), 0.1), torch.full((1, 20_000, 2), -3.0)
    for temperature in (1.0, 0.5):
        drawn = policy.sample(mean, log_std, torch.Generator().manual_seed(0), temperature)[0]
        sigma = temperature * np.exp(-3.0)
        np.testing.assert_allclose(drawn.mean(0), 0.1, atol=5 * sigma / np.sqrt(20_000))
        np.testing.assert_allclose(drawn.std(0), sigma, rtol=0.03)


def test_log_std_keeps_its_bounds():
    bounds = (-1.0, 0.25)
    for kind in ({}, {"state_dependent_std": True}):
        policy = small_policy(log_std_bounds=bounds, **kind)
        with torch.no_grad():
            (policy.biases[-1] if kind else policy.log_std).copy_(torch.tensor([9.0]))
        states = torch.from_numpy(observations(3))[None]
        assert (policy(states)[1] == 0.25).all()
        assert policy.with_log_std_bounds((-2.0, 0.1))(states)[1].max().item() == pytest.approx(0.1)


def test_normalisation_is_part_of_the_policy():
    plain, normalised = small_policy(), small_policy()
    mean, std = torch.linspace(-1, 1, 7), torch.linspace(0.5, 2, 7)
    normalised.set_normalization(mean, std)
    states = observations(6)
    expected = plain.act((states - mean.numpy()) / std.numpy())
    np.testing.assert_allclose(normalised.act(states), expected, atol=1e-6)


@pytest.mark.parametrize(("population", "shape"), [(1, (5, 6)), (1, (7,)), (2, (5, 7)), (1, (1, 1, 5, 7))])
def test_observations_of_a_wrong_shape(population, shape):
    with pytest.raises(ValueError, match=re.escape(f"observations have shape {shape}; expected [N, 7]")):
        small_policy(population=population).act(np.zeros(shape, dtype=np.float32))


def test_architectures_compare_by_value():
    assert Architecture(3, 2) == replace(Architecture(3, 1), act_dim=2)


@pytest.mark.parametrize("change", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), lambda p: p.double()])
def test_a_copied_or_converted_policy_computes_with_its_own_parameters(change):
    policy = small_policy()
    observations = torch.zeros(1, 3, 7)
    before = policy(observations)[0].detach().clone()
    changed = change(policy)
    with torch.no_grad():
        changed.biases[-1].add_(1.0)
        after = changed(observations.to(changed.biases[0].dtype))[0]
    torch.testing.assert_close(after.float(), before + 1.0)
    if changed is not policy:
        torch.testing.assert_close(policy(observations)[0], before)
