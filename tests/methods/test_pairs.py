from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prefine_ray.methods.population import Member
from prefine_ray.methods.prefine.objective import SidedLogProbs
from prefine_ray.methods.prefine.pairs import PairLearner, PairTable, pair_loss
from tests.makers import ball_run_episodes, finetune_config, small_policy

BETTER, WORSE = np.array([0, 1, 2, 0]), np.array([5, 6, 7, 6])


def learner(weights=(5.0,), seeds=None, better=BETTER, worse=WORSE, **settings) -> PairLearner:
    seeds = seeds or [0] * len(weights)
    members = [Member(weight, better, worse, seed) for weight, seed in zip(weights, seeds, strict=True)]
    return PairLearner(small_policy(), ball_run_episodes(), members, finetune_config(**settings))


def last_metrics(of: PairLearner, until: int = 40) -> dict[str, torch.Tensor]:
    rows: list[dict[str, torch.Tensor]] = []
    of.train(until, lambda _, metrics: rows.append(metrics))
    return {name: torch.stack([row[name] for row in rows[-5:]]).mean(0) for name in rows[0]}


def side(data: float, reference: float, counterfactual: float, counterfactual_reference: float) -> SidedLogProbs:
    values = (data, reference, counterfactual, counterfactual_reference)
    return SidedLogProbs(*(torch.tensor([[[value]]], dtype=torch.float64) for value in values))


def test_hand_computed_value():
    weight = torch.tensor([3.0], dtype=torch.float64)
    loss = pair_loss(side(1.0, 0.5, 0.25, 0.0), side(-1.0, 1.0, 2.0, 1.5), weight, beta=0.5, limit=10.0)
    # margins: (1 - .5) - (.25 - 0) = .25 and (-1 - 1) - (2 - 1.5) = -2.5
    safety = math.log1p(math.exp(-0.5 * (0.25 + 2.5)))
    assert loss.safety.item() == pytest.approx(safety)
    assert loss.total.item() == pytest.approx(3.0 * safety - 1.0)
    assert (loss.margin_preferred.item(), loss.margin_dispreferred.item()) == (0.25, -2.5)
    assert loss.accuracy.item() == 1.0


def test_what_both_have_in_common_cancels():
    weight = torch.ones(1, dtype=torch.float64)
    plain = pair_loss(side(1.0, 0.5, 0.0, 0.0), side(0.0, 0.5, 0.0, 0.0), weight, beta=1.0, limit=10.0)
    both = pair_loss(side(1.0, 0.5, 2.0, 0.0), side(0.0, 0.5, 2.0, 0.0), weight, beta=1.0, limit=10.0)
    assert both.safety.item() == pytest.approx(plain.safety.item())


def test_a_draw_is_of_one_pair_and_inside_its_episodes():
    data = ball_run_episodes()
    members = [Member(1.0, BETTER, WORSE, 0), Member(1.0, np.array([3]), np.array([4]), 0)]
    table = PairTable(data, members, segment=3, device=torch.device("cpu"))
    uniform = torch.rand(2, 3, 4000, generator=torch.Generator().manual_seed(0))
    uniform[:, :, 0] = 1 - 2**-24
    better, worse = (np.asarray(side) for side in table.draw(uniform))
    episode = np.searchsorted(data.starts, [better, worse], side="right") - 1
    for first, last in ((better, episode[0]), (worse, episode[1])):
        assert (first + 3 <= data.starts[last] + data.lengths[last]).all()
    drawn, counts = np.unique(episode[:, 0].T, axis=0, return_counts=True)
    assert [tuple(pair) for pair in drawn.tolist()] == sorted(zip(BETTER.tolist(), WORSE.tolist(), strict=True))
    assert counts.min() > 850
    assert (episode[:, 1].T == [3, 4]).all()


def test_pairs_of_too_short_episodes_are_left_out():
    with pytest.raises(ValueError, match="no segment fits"):
        learner(segment=101)


def test_weight_widens_the_gap_between_better_and_worse():
    found = last_metrics(learner((0.0, 20.0), learning_rate=2e-3, beta=1.0, batch_size=128))
    gap = found["margin_preferred"] - found["margin_dispreferred"]
    assert gap[1] > gap[0] + 0.05
    assert found["accuracy"][1] > 0.55


def test_pairs_that_contradict_each_other_leave_the_policy_where_it_is():
    """Each pair both ways: there is nothing to prefer, and the gap stays that of the imitation alone."""
    both = (np.concatenate([BETTER, WORSE]), np.concatenate([WORSE, BETTER]))
    found = last_metrics(learner((0.0, 20.0), better=both[0], worse=both[1], learning_rate=2e-3, beta=1.0))
    gap = (found["margin_preferred"] - found["margin_dispreferred"]).abs()
    assert gap[1] < 0.1


def test_a_population_trains_as_single_runs_do_and_resumes():
    together = learner((0.0, 5.0), (0, 7))
    together.train(15)
    alone = learner((5.0,), (7,))
    alone.train(10)
    resumed = learner((5.0,), (7,))
    resumed.load_state_dict(alone.state_dict())
    resumed.train(15)
    for name, value in resumed.policies().state_dict().items():
        torch.testing.assert_close(value, together.policies().select(1).state_dict()[name], atol=1e-5, rtol=0)
