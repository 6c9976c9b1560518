"""The compared methods: losses against hand-computed values, and what populations and checkpoints must not change."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from prefine_ray.methods.actor_network import log_prob, new_actors
from prefine_ray.methods.bc_baselines import BCSettings, BehaviouralCloning
from prefine_ray.methods.cpl import CPL, CPLSettings, cpl_loss
from prefine_ray.methods.population import Member, PopulationLearner
from prefine_ray.methods.trac import PUBLISHED, TraC, TraCSettings, select_segments, trac_loss
from tests.makers import ball_run_episodes

PREFERRED, DISPREFERRED = np.arange(5), np.arange(5, 8)
SHORT = {"steps": 20, "bc_steps": 10, "batch_size": 8, "segment": 4, "learning_rate": 3e-3, "warmup_steps": 4}
ADVANCED = {"preference_rate": 1.0, "hidden": (16, 16), "log_every": 1}
SEGMENTS = {**SHORT, "advanced": ADVANCED}
BC = BCSettings(steps=20, batch_size=32, advanced={"hidden": (16, 16), "log_every": 1})


def bc(seeds: list[int]) -> BehaviouralCloning:
    members = [Member(math.nan, np.arange(8), DISPREFERRED[:0], seed) for seed in seeds]
    return BehaviouralCloning(ball_run_episodes(), members, BC)


def cpl(seeds: list[int], **settings) -> CPL:
    return CPL(ball_run_episodes(), pairs(seeds), CPLSettings(**{**SEGMENTS, **settings}))


def trac(seeds: list[int], **settings) -> TraC:
    return TraC(ball_run_episodes(), pairs(seeds), TraCSettings(**{**SEGMENTS, **settings}), "safety-gymnasium")


def pairs(seeds: list[int]) -> list[Member]:
    return [Member(math.nan, PREFERRED[: 3 + index % 2], DISPREFERRED, seed) for index, seed in enumerate(seeds)]


METHODS = pytest.mark.parametrize("make", [bc, cpl, trac])
Make = Callable[[list[int]], PopulationLearner]


def flat(of: PopulationLearner, member: int = 0) -> torch.Tensor:
    return torch.cat([value.flatten() for value in of.policies().select(member).state_dict().values()])


def curves(of: PopulationLearner, until: int) -> list[dict[str, torch.Tensor]]:
    rows: list[dict[str, torch.Tensor]] = []
    of.train(until, lambda _, metrics: rows.append(metrics))
    return rows


def test_log_probability_by_hand():
    members = [Member(math.nan, PREFERRED, DISPREFERRED, 0)]
    policy = new_actors(ball_run_episodes(), members, (16,))
    with torch.no_grad():
        for weight in policy.weights:
            weight.zero_()
        policy.biases[-1].copy_(torch.atanh(torch.tensor([0.5, -0.2])))
    observations = torch.from_numpy(ball_run_episodes().observations[:2])[None]
    actions = torch.tensor([[[0.5, 0.3], [1.0, -0.2]]])
    torch.testing.assert_close(log_prob(policy, observations, actions), torch.tensor([[-0.25, -0.25]]))
    np.testing.assert_allclose(policy.act(observations[0].numpy()), [[0.5, -0.2]] * 2, rtol=1e-6)


def test_cpl_loss_by_hand():
    """alpha 0.5, lambda 0.75: A+ = 1 and A- = -2; A+ = 0 and A- = 4."""
    preferred = torch.tensor([[[0.5, 1.5], [1.0, -1.0]]])
    dispreferred = torch.tensor([[[-3.0, -1.0], [4.0, 4.0]]])
    loss = cpl_loss(preferred, dispreferred, alpha=0.5, bias=0.75)
    expected = [-math.log(math.exp(1) / (math.exp(1) + math.exp(-1.5))), -math.log(1 / (1 + math.exp(3)))]
    assert loss.total.item() == pytest.approx(np.mean(expected), rel=1e-6)
    assert loss.accuracy.item() == 0.5
    assert (loss.advantage_desirable.item(), loss.advantage_undesirable.item()) == (0.5, 1.0)


def test_trac_loss_by_hand():
    """alpha 0.5, gamma 0.5: A of the desirable is 1 and -1, of the undesirable 0.5 and 3."""
    desirable = torch.tensor([[[1.0, 2.0], [-2.0, 0.0]]])
    undesirable = torch.tensor([[[1.0, 0.0], [0.0, 12.0]]])
    weights = (torch.tensor([[0.7, 1.0]]), torch.tensor([[1.0, 0.9]]))
    loss = trac_loss(desirable, undesirable, weights, alpha=0.5, gamma=0.5, eta=0.25)

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    good = (0.7 * math.log(sigmoid(1)) + math.log(sigmoid(-1))) / 2
    bad = (math.log(1 - sigmoid(0.5)) + 0.9 * math.log(1 - sigmoid(3))) / 2
    assert loss.total.item() == pytest.approx(-0.5 * (good + 0.25 * bad), rel=1e-6)
    assert loss.accuracy.item() == 0.25


def test_trac_gives_no_gradient_to_hopeless_segments():
    undesirable = torch.tensor([[[400.0], [-1.0]]], requires_grad=True)
    ones = torch.ones(1, 2)
    trac_loss(torch.zeros(1, 2, 1), undesirable, (ones, ones), alpha=0.1, gamma=1.0, eta=1.0).total.sum().backward()
    assert undesirable.grad is not None
    assert undesirable.grad[0, 0, 0] == 0
    assert undesirable.grad[0, 1, 0] > 0


def test_a_mixed_batch_weighted_as_published_is_the_balanced_loss():
    """lambda_u = eta n_d / n_u over a batch of n_d desirable and n_u undesirable segments (the authors' code)."""
    generator = torch.Generator().manual_seed(0)
    good, bad = torch.randn(1, 12, 3, generator=generator), torch.randn(1, 4, 3, generator=generator)
    weights = torch.rand(1, 12, generator=generator), torch.ones(1, 4)
    ours = trac_loss(good, bad, weights, alpha=0.2, gamma=0.99, eta=0.25).total
    discount = 0.2 * 0.99 ** torch.arange(3)
    logits = torch.cat([good, bad], dim=1).mul(discount).sum(-1)
    label = torch.cat([torch.ones(12), torch.zeros(4)])
    balance = torch.where(label == 1, 1.0, 0.25 * 12 / 4)
    likely = label * torch.sigmoid(logits).log() + (1 - label) * (1 - torch.sigmoid(logits)).log()
    published = -(balance * torch.cat(weights, dim=1) * likely).mean()
    torch.testing.assert_close(ours[0] * 2 * 12 / 16, published)


def test_trac_selects_and_weighs_segments_by_return():
    good, good_weights, bad, bad_weights = select_segments(np.array([3.0, 1.0, 5.0, 2.0]), 0.6, top=0.5, bottom=0.25)
    assert good.tolist() == [0, 2]
    assert bad.tolist() == [1]
    np.testing.assert_allclose(good_weights, [0.6 + 0.4 * 0.5, 1.0])
    np.testing.assert_allclose(bad_weights, [1.0])
    equal = select_segments(np.ones(3), 0.6, top=1.0, bottom=0.0)
    assert [len(part) for part in equal] == [3, 3, 0, 0]
    assert (equal[1] == 1).all()


def test_published_settings_are_the_defaults():
    assert (CPLSettings().advanced.alpha, CPLSettings().advanced.bias) == (0.2, 0.75)
    settings = TraCSettings()
    assert (settings.steps, settings.bc_steps, settings.batch_size, settings.learning_rate) == (
        100_000,
        30_000,
        96,
        1e-4,
    )
    assert (settings.advanced.gamma, settings.advanced.kappa, settings.advanced.hidden) == (0.99, 0.7, (256, 256))
    assert PUBLISHED["bullet"][:2] == (0.2, 0.25)
    assert PUBLISHED["safety-gymnasium"][:2] == (0.1, 0.5)
    cloning = BCSettings()
    assert (cloning.steps, cloning.batch_size, cloning.learning_rate) == (100_000, 512, 1e-3)


@METHODS
def test_a_population_trains_as_single_runs_do(make: Make):
    together = make([4, 9])
    together.train(20)
    alone = make([4])
    alone.train(20)
    torch.testing.assert_close(flat(together), flat(alone), atol=1e-5, rtol=0)
    assert (flat(together, 0) - flat(together, 1)).abs().max() > 1e-2


def test_members_may_differ_in_their_trajectories():
    """The second member of `pairs` has four preferred trajectories, the first three."""
    together = trac([4, 9])
    together.train(15)
    alone = TraC(ball_run_episodes(), pairs([4, 9])[1:], TraCSettings(**SEGMENTS), "safety-gymnasium")
    alone.train(15)
    torch.testing.assert_close(flat(together, 1), flat(alone), atol=1e-5, rtol=0)


@METHODS
@pytest.mark.parametrize("cut_at", [5, 10, 15])  # in the first phase, between the two, in the second
def test_a_resumed_training_equals_an_uninterrupted_one(make: Make, cut_at: int, tmp_path):
    whole, cut, resumed = (make([1, 2]) for _ in range(3))
    whole.train(20)
    cut.train(cut_at)
    torch.save(cut.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    resumed.train(20)
    for member in range(2):
        assert torch.equal(flat(whole, member), flat(resumed, member))
    assert not torch.equal(flat(cut), flat(whole))


def test_behavioural_cloning_imitates():
    losses = [row["loss"].item() for row in curves(bc([0]), 20)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("make", [cpl, trac])
def test_preferences_are_learned_in_the_second_phase(make):
    settings = {"steps": 60, "bc_steps": 20, "batch_size": 64}
    rows = curves(make([0], **settings), 60)
    assert [("accuracy" in row) for row in rows] == [False] * 20 + [True] * 40
    margins = [(row["margin_preferred"] - row["margin_dispreferred"]).item() for row in rows[20:]]
    assert margins[0] == 0.0  # the policy is its own reference there
    assert margins[-1] > 0.05
    assert rows[-1]["accuracy"].item() > 0.6


def test_segments_longer_than_the_trajectories_are_refused():
    with pytest.raises(ValueError, match="no segment fits"):
        cpl([0], segment=101)
