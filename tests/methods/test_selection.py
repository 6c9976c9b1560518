"""Which of the preferred trajectories are trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefine_ray.methods import selection
from prefine_ray.methods.gaussian_cloning import CloneConfig
from prefine_ray.methods.population import Member
from prefine_ray.methods.selection import SelectionSettings, contrasts, highest, mean_log_probs, select_preferred
from prefine_ray.policies.gaussian import stack
from tests.makers import ball_run_episodes, small_policy

SHORT = CloneConfig(steps=150, batch_size=64, hidden=(32, 32))


def member(preferred: list[int], dispreferred: list[int], seed: int = 0) -> Member:
    return Member(1.0, np.array(preferred), np.array(dispreferred), seed)


@pytest.fixture
def short_clones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "CLONES", SHORT)


def chosen_by(rule: str, share: float, whole: Member) -> list[int]:
    """What a rule takes of a member's preferred trajectories."""
    chosen = SelectionSettings(rule=rule, share=share)
    (part,) = select_preferred(ball_run_episodes(), [whole], [chosen], small_policy())
    assert part.dispreferred.tolist() == whole.dispreferred.tolist()
    return part.preferred.tolist()


def test_the_highest_are_a_share_in_their_order():
    scores = np.array([0.1, 0.9, 0.5, 0.9, 0.2])
    episodes = np.array([0, 1, 2, 3])
    assert highest([scores], episodes, 0.5).tolist() == [1, 3]
    assert highest([scores], episodes, 0.51).tolist() == [1, 2, 3]
    assert highest([scores], episodes, 0.01).tolist() == [1]  # a tie: the earlier one
    assert highest([scores], episodes, 1.0).tolist() == episodes.tolist()


def test_the_last_key_counts_first():
    scores, lucky = np.array([0.1, 0.9, 0.5, 0.2]), np.array([True, False, True, True])
    assert highest([scores, lucky], np.arange(4), 0.5).tolist() == [2, 3]
    assert highest([scores, lucky], np.arange(4), 1.0).tolist() == [0, 1, 2, 3]


def test_the_likelihood_of_an_episode_is_the_mean_over_its_steps():
    episodes, policies = ball_run_episodes(), stack([small_policy(), small_policy(seed=8)])
    found = mean_log_probs(policies, episodes)
    assert found.shape == (2, len(episodes))
    rows = slice(episodes.starts[2], episodes.starts[2] + episodes.lengths[2])
    mean, log_std = policies(torch.from_numpy(episodes.observations[rows])[None])
    expected = policies.log_prob(mean, log_std.clamp_min(-1.0), torch.from_numpy(episodes.actions[rows])[None])
    assert found[:, 2] == pytest.approx(expected.clamp_min(-50.0).mean(-1).detach().numpy(), rel=1e-5)


def test_no_rule_takes_all():
    assert chosen_by("none", 0.1, member([0, 1, 2, 5], [6, 7])) == [0, 1, 2, 5]


def test_likely_takes_those_that_the_base_finds_likeliest():
    """Episodes 0 to 4 are of the base's own behaviour, 5 to 7 of another."""
    likelihood = mean_log_probs(small_policy(), ball_run_episodes())[0]
    whole = member([0, 1, 3, 5], [6, 7])
    found = chosen_by("likely", 0.5, whole)
    assert 5 not in found
    assert found == sorted(sorted(whole.preferred.tolist(), key=lambda e: -likelihood[e])[:2])


def test_the_contrast_of_a_lucky_one_of_the_behaviour_of_the_dispreferred_is_the_lowest(short_clones):
    """Episodes 0 to 4 are of one behaviour, 5 to 7 of another: 5 is preferred by luck."""
    (contrast,) = contrasts(ball_run_episodes(), [member([0, 1, 2, 5], [6, 7])])
    assert contrast[5] < contrast[[0, 1, 2]].min()


def test_contrast_goes_by_the_base_but_puts_those_of_negative_contrast_last(monkeypatch: pytest.MonkeyPatch):
    contrast, likelihood = np.array([0.5, 0.1, -0.1, 9.0]), np.array([-4.0, -3.0, -1.0, -2.0])
    monkeypatch.setattr(selection, "contrasts", lambda episodes, members, clones: [contrast for _ in members])
    monkeypatch.setattr(selection, "mean_log_probs", lambda policy, episodes: likelihood[None])
    found = [chosen_by("contrast", share, member([0, 1, 2, 3], [6, 7])) for share in (0.25, 0.5, 0.75, 1.0)]
    assert found == [[3], [1, 3], [0, 1, 3], [0, 1, 2, 3]]


def test_the_cheapest_have_the_lowest_cost_and_need_no_clones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selection, "clone_sides", None)
    costs, whole = ball_run_episodes().episode_costs, member([0, 1, 2, 5], [6, 7])
    found = chosen_by("cheapest", 0.5, whole)
    left_out = sorted({*whole.preferred.tolist()} - {*found})
    assert len(found) == 2
    assert costs[found].max() < costs[left_out].min()


def test_a_rule_is_written_as_it_is_read():
    for text, rule, share in (("none", "none", 1.0), ("likely 0.3", "likely", 0.3), ("contrast 0.5", "contrast", 0.5)):
        given = selection._from_word(text)
        settings = SelectionSettings(**given)
        assert (settings.rule, settings.share, str(settings)) == (rule, share, text)


def test_contrast_is_the_same_alone_and_among_others(short_clones):
    episodes = ball_run_episodes()
    many = [member([0, 1, 5], [6, 7]), member([0, 2, 5], [4, 7], seed=1), member([0, 1, 5], [6, 7])]
    together = contrasts(episodes, many)
    assert together[0].tolist() == together[2].tolist() != together[1].tolist()
    assert together[1].tolist() == contrasts(episodes, many[1:2])[0].tolist()


def test_each_member_has_its_own_rule_and_share(short_clones):
    whole = member([0, 1, 2, 5], [6, 7])
    rules = [("none", 1.0), ("contrast", 0.5), ("likely", 0.5), ("cheapest", 0.25)]
    chosen = [SelectionSettings(rule=rule, share=share) for rule, share in rules]
    together = select_preferred(ball_run_episodes(), [whole] * 4, chosen, small_policy())
    for (rule, share), part in zip(rules, together, strict=True):
        assert part.preferred.tolist() == chosen_by(rule, share, whole)
        assert len(part.preferred) == max(1, round(4 * share))
