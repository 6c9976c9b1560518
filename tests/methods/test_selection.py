"""Which of the preferred trajectories are learnt from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prefine_ray.methods import selection
from prefine_ray.methods.cloning import CloneConfig
from prefine_ray.methods.population import Member
from prefine_ray.methods.selection import Choice, contrasts, highest, keep_preferred, mean_log_probs
from prefine_ray.policies.gaussian import stack
from tests.makers import ball_run_episodes, small_policy

SHORT = CloneConfig(steps=150, batch_size=64, hidden=(32, 32))


def member(preferred: list[int], dispreferred: list[int], seed: int = 0) -> Member:
    return Member(1.0, np.array(preferred), np.array(dispreferred), seed)


@pytest.fixture
def short_clones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "CLONES", SHORT)


def test_the_highest_are_a_share_in_their_order():
    scores = np.array([0.1, 0.9, 0.5, 0.9, 0.2])
    episodes = np.array([0, 1, 2, 3])
    assert highest(scores, episodes, 0.5).tolist() == [1, 3]
    assert highest(scores, episodes, 0.51).tolist() == [1, 2, 3]
    assert highest(scores, episodes, 0.01).tolist() == [1]  # a tie: the earlier one
    assert highest(scores, episodes, 1.0).tolist() == episodes.tolist()


def test_the_likelihood_of_an_episode_is_the_mean_over_its_steps():
    episodes, policies = ball_run_episodes(), stack([small_policy(), small_policy(seed=8)])
    found = mean_log_probs(policies, episodes)
    assert found.shape == (2, len(episodes))
    rows = slice(episodes.starts[2], episodes.starts[2] + episodes.lengths[2])
    mean, log_std = policies(torch.from_numpy(episodes.observations[rows])[None])
    expected = policies.log_prob(mean, log_std.clamp_min(-1.0), torch.from_numpy(episodes.actions[rows])[None])
    assert found[:, 2] == pytest.approx(expected.clamp_min(-50.0).mean(-1).detach().numpy(), rel=1e-5)


def test_narrowing_leaves_out_the_lucky_ones_of_the_behaviour_of_the_dispreferred(short_clones):
    """Episodes 0 to 4 are of one behaviour, 5 to 7 of another: 5 is preferred by luck."""
    whole = member([0, 1, 2, 5], [6, 7])
    choices = [Choice(), Choice(narrowed=0.75), Choice(narrowed=0.3)]
    kept = [
        part.preferred.tolist() for part in keep_preferred(ball_run_episodes(), [whole] * 3, choices, small_policy())
    ]
    assert kept[:2] == [[0, 1, 2, 5], [0, 1, 2]]
    assert len(kept[2]) == 2
    assert set(kept[2]) < {0, 1, 2}


def test_narrowing_is_of_those_kept(monkeypatch: pytest.MonkeyPatch):
    contrast, likelihood = np.array([0.5, 0.1, 0.3, 9.0]), np.array([-2.0, -1.0, -3.0, -4.0])
    monkeypatch.setattr(selection, "contrasts", lambda episodes, members: [contrast for _ in members])
    monkeypatch.setattr(selection, "mean_log_probs", lambda policy, episodes: likelihood[None])
    choices = [Choice(0.75, "base", 1.0), Choice(0.75, "base", 0.6), Choice(0.75, "base", 0.1)]
    kept = keep_preferred(ball_run_episodes(), [member([0, 1, 2, 3], [6, 7])] * 3, choices, small_policy())
    assert [part.preferred.tolist() for part in kept] == [[0, 1, 2], [0, 2], [0]]


def test_narrowing_by_cost_takes_the_cheapest_of_those_kept_without_clones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selection, "clone_sides", None)
    episodes = ball_run_episodes()
    whole = member([0, 1, 2, 5], [6, 7])
    [kept] = keep_preferred(episodes, [whole], [Choice(narrowed=0.5, narrowed_by="cost")], small_policy())
    costs = episodes.summary.costs
    left_out = sorted({*whole.preferred} - {*kept.preferred})
    assert len(kept.preferred) == 2
    assert costs[kept.preferred].max() < costs[left_out].min()


def test_both_goes_by_the_base_but_puts_those_of_negative_contrast_last(monkeypatch: pytest.MonkeyPatch):
    contrast, likelihood = np.array([0.5, 0.1, -0.1, 9.0]), np.array([-4.0, -3.0, -1.0, -2.0])
    monkeypatch.setattr(selection, "contrasts", lambda episodes, members: [contrast for _ in members])
    monkeypatch.setattr(selection, "mean_log_probs", lambda policy, episodes: likelihood[None])
    choices = [Choice(share, "both") for share in (0.25, 0.5, 0.75, 1.0)]
    kept = keep_preferred(ball_run_episodes(), [member([0, 1, 2, 3], [6, 7])] * 4, choices, small_policy())
    assert [part.preferred.tolist() for part in kept] == [[3], [1, 3], [0, 1, 3], [0, 1, 2, 3]]


def test_contrast_is_the_same_alone_and_among_others(short_clones):
    episodes = ball_run_episodes()
    many = [member([0, 1, 5], [6, 7]), member([0, 2, 5], [4, 7], seed=1), member([0, 1, 5], [6, 7])]
    together = contrasts(episodes, many)
    assert together[0].tolist() == together[2].tolist() != together[1].tolist()
    assert together[1].tolist() == contrasts(episodes, many[1:2])[0].tolist()


def test_each_member_has_its_share_and_criterion(short_clones):
    whole = member([0, 1, 2, 5], [6, 7])
    choices = [Choice(by="both"), Choice(0.5, "both"), Choice(0.5, "base")]
    kept = keep_preferred(ball_run_episodes(), [whole] * 3, choices, small_policy())
    assert [len(part.preferred) for part in kept] == [4, math.ceil(0.5 * 4), 2]
    assert all(part.dispreferred.tolist() == [6, 7] for part in kept)
