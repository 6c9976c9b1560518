"""The PREFINE objective: pure functions of tensors.

With r(s, a) = log pi_theta(a|s) - log pi_ref(a|s), a data action a and a counterfactual action
a' ~ pi_theta(.|s) through which no gradient flows:

    L_safety = mean over D_p  of -log sigmoid(beta [r(s, a) - r(s', a')])
             + mean over D_np of -log sigmoid(beta [r(s', a') - r(s, a)])
    L_reward = mean over D_p  of -log pi_theta(a|s)
    L        = w L_safety + L_reward

This is Direct Preference Optimization (Rafailov et al., arXiv 2305.18290, equation 7) with the policy's
own action as the other side of each preference, and a supervised anchor. Weight w = 0 is supervised
fine-tuning on D_p. The exact equation of PREFINE (arXiv 2605.21225) was not available to us; what was
chosen and measured is in docs/notebook.

Shapes: P members of a population, B segments per member, L consecutive steps per segment.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class SidedLogProbs(NamedTuple):
    """Log-probabilities of one side's (D_p or D_np) batch, each [P, B, L]."""

    data: Tensor  # log pi_theta of the data actions
    data_reference: Tensor  # log pi_ref of them
    counterfactual: Tensor  # log pi_theta of the counterfactual actions, at their own states
    counterfactual_reference: Tensor


class Loss(NamedTuple):
    """The loss and its parts per member, each [P]."""

    total: Tensor
    safety: Tensor
    reward: Tensor
    margin_preferred: Tensor  # mean of r(s, a) - r(s', a') on D_p: should grow
    margin_dispreferred: Tensor  # the same on D_np: should fall
    accuracy: Tensor  # fraction of pairs that the policy's log-ratios order rightly


def bounded_log_ratio(log_prob: Tensor, log_prob_reference: Tensor, limit: float) -> Tensor:
    """Log-ratio to the reference summed over a segment and clamped, [P, B, L] -> [P, B].

    Without the bound the loss has no minimum on dispreferred actions: the policy can always make them
    less likely still. Beyond the bound a pair gives no more gradient.
    """
    return (log_prob - log_prob_reference).sum(-1).clamp(-limit, limit)


def preference_margin(batch: SidedLogProbs, limit: float) -> Tensor:
    """r(s, a) - r(s', a') per segment, [P, B]."""
    data = bounded_log_ratio(batch.data, batch.data_reference, limit)
    counterfactual = bounded_log_ratio(batch.counterfactual, batch.counterfactual_reference, limit)
    return data - counterfactual


def prefine_loss(
    preferred: SidedLogProbs, dispreferred: SidedLogProbs, weight: Tensor, beta: float, limit: float
) -> Loss:
    """The objective above for each member of a population.

    Args:
        preferred: log-probabilities on D_p.
        dispreferred: log-probabilities on D_np.
        weight: [P], the reward/safety weight w of each member, at least 0.
        beta: inverse temperature of the preference, above 0.
        limit: bound on the absolute log-ratio of a segment, above 0.
    """
    margin_preferred = preference_margin(preferred, limit)
    margin_dispreferred = preference_margin(dispreferred, limit)
    safety = -logsigmoid(beta * margin_preferred).mean(-1) - logsigmoid(-beta * margin_dispreferred).mean(-1)
    reward = -preferred.data.mean((-1, -2))
    rightly_ordered = (margin_preferred > 0).float().mean(-1) + (margin_dispreferred < 0).float().mean(-1)
    return Loss(
        total=weight * safety + reward,
        safety=safety,
        reward=reward,
        margin_preferred=margin_preferred.mean(-1),
        margin_dispreferred=margin_dispreferred.mean(-1),
        accuracy=rightly_ordered / 2,
    )


def gaussian_kl(mean: Tensor, log_std: Tensor, mean_reference: Tensor, log_std_reference: Tensor) -> Tensor:
    """KL(pi_theta || pi_ref) of diagonal Gaussians, summed over actions and averaged over states, [P].

    All arguments [P, N, act_dim]. A tanh on both sides leaves it unchanged.
    """
    variance_ratio = (2 * (log_std - log_std_reference)).exp()
    distance = (mean - mean_reference).square() * (-2 * log_std_reference).exp()
    return 0.5 * (variance_ratio + distance - 1 - 2 * (log_std - log_std_reference)).sum(-1).mean(-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy of the underlying Gaussian, averaged over states, [P, N, act_dim] -> [P]."""
    constant = 0.5 * (1.0 + torch.log(torch.tensor(2.0 * torch.pi))).item()
    return (log_std + constant).sum(-1).mean(-1)
