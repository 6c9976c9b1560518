import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from prefine_ray.methods.prefine.objective import (
    SidedLogProbs,
    bounded_log_ratio,
    gaussian_entropy,
    gaussian_kl,
    preference_margin,
    prefine_loss,
)


def side(data, data_reference=None, counterfactual=None, counterfactual_reference=None) -> SidedLogProbs:
    """Log-probabilities [P, B, L] from nested lists; what is left out is 0."""
    data = torch.as_tensor(data, dtype=torch.float64)
    others = [
        torch.zeros_like(data) if values is None else torch.as_tensor(values, dtype=torch.float64)
        for values in (data_reference, counterfactual, counterfactual_reference)
    ]
    return SidedLogProbs(data, *others)


def weight(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_hand_computed_value():
    """One member, two preferred segments and one dispreferred, one step each."""
    preferred = side([[[1.0], [-2.0]]], [[[0.5], [-1.0]]], [[[0.25], [3.0]]], [[[0.0], [1.0]]])
    dispreferred = side([[[-1.0]]], [[[1.0]]], [[[2.0]]], [[[1.5]]])
    loss = prefine_loss(preferred, dispreferred, weight(3.0), beta=0.5, limit=10.0)
    # margins: (1 - .5) - (.25 - 0) = .25 and (-2 + 1) - (3 - 1) = -3; dispreferred (-1 - 1) - (2 - 1.5) = -2.5
    safety = (softplus(-0.5 * 0.25) + softplus(0.5 * 3.0)) / 2 + softplus(-0.5 * 2.5)
    assert loss.safety.item() == pytest.approx(safety)
    assert loss.reward.item() == pytest.approx(0.5)  # -(1 - 2) / 2
    assert loss.total.item() == pytest.approx(3.0 * safety + 0.5)
    assert loss.margin_preferred.item() == pytest.approx((0.25 - 3.0) / 2)
    assert loss.margin_dispreferred.item() == pytest.approx(-2.5)
    assert loss.accuracy.item() == pytest.approx((0.5 + 1.0) / 2)


def test_weight_zero_is_the_negative_log_likelihood_of_the_preferred():
    data = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    dispreferred = torch.zeros(2, 6, 3, dtype=torch.float64, requires_grad=True)
    loss = prefine_loss(side(data), side(dispreferred), weight(0.0, 0.0), beta=0.1, limit=5.0)
    torch.testing.assert_close(loss.total, -data.mean((1, 2)))
    gradient = torch.autograd.grad(loss.total.sum(), [data, dispreferred])
    torch.testing.assert_close(gradient[0], torch.full_like(data, -1 / 18))
    assert (gradient[1] == 0).all()


def test_each_member_has_its_own_weight_and_data():
    preferred, dispreferred = side([[[1.0]], [[2.0]]]), side([[[-1.0]], [[0.5]]])
    both = prefine_loss(preferred, dispreferred, weight(2.0, 7.0), beta=0.3, limit=5.0)
    for member, w in enumerate((2.0, 7.0)):
        alone = [SidedLogProbs(*(v[member : member + 1] for v in s)) for s in (preferred, dispreferred)]
        expected = prefine_loss(*alone, weight(w), beta=0.3, limit=5.0)
        assert [v[member].item() for v in both] == [v.item() for v in expected]


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_beta_scales_the_margin(beta):
    loss = prefine_loss(side([[[1.5]]]), side([[[-0.5]]]), weight(1.0), beta=beta, limit=5.0)
    assert loss.safety.item() == pytest.approx(softplus(-beta * 1.5) + softplus(-beta * 0.5))
    assert loss.margin_preferred.item() == 1.5


def test_a_policy_equal_to_its_reference_has_twice_log_two():
    loss = prefine_loss(side([[[-1.0]]], [[[-1.0]]]), side([[[-3.0]]], [[[-3.0]]]), weight(1.0), beta=0.7, limit=5.0)
    assert loss.safety.item() == pytest.approx(2 * math.log(2))


def test_a_step_down_the_gradient_prefers_and_disprefers():
    preferred = torch.zeros(1, 4, 1, dtype=torch.float64, requires_grad=True)
    dispreferred = torch.zeros(1, 4, 1, dtype=torch.float64, requires_grad=True)
    loss = prefine_loss(side(preferred), side(dispreferred), weight(1.0), beta=1.0, limit=5.0)
    up, down = torch.autograd.grad(loss.safety.sum(), [preferred, dispreferred])
    torch.testing.assert_close(up, torch.full_like(up, -0.5 / 4))  # less loss when the preferred are likelier
    torch.testing.assert_close(down, torch.full_like(down, 0.5 / 4))


def test_the_log_ratio_is_summed_over_a_segment_before_the_limit():
    two_steps = torch.tensor([[[4.0, -3.0], [4.0, 3.0], [-4.0, -3.0]]])
    ratio = bounded_log_ratio(two_steps, torch.zeros_like(two_steps), limit=5.0)
    assert ratio.tolist() == [[1.0, 5.0, -5.0]]


def test_segments_of_two_steps_by_hand():
    preferred = side([[[1.0, 2.0]]], [[[0.5, 0.5]]], [[[0.25, 0.25]]])
    dispreferred = side([[[0.0, -1.0]]])
    loss = prefine_loss(preferred, dispreferred, weight(1.0), beta=1.0, limit=9.0)
    assert loss.margin_preferred.item() == pytest.approx(1.5)
    assert loss.safety.item() == pytest.approx(softplus(-1.5) + softplus(-1.0))
    assert loss.reward.item() == pytest.approx(-1.5)  # the mean over steps, not the sum


def test_no_gradient_beyond_the_limit():
    dispreferred = torch.tensor([[[-4.9], [-5.1], [-30.0], [5.1]]], dtype=torch.float64, requires_grad=True)
    loss = prefine_loss(side([[[0.0]]]), side(dispreferred), weight(1.0), beta=1.0, limit=5.0)
    gradient = torch.autograd.grad(loss.total.sum(), dispreferred)[0].flatten()
    assert gradient[0] > 0
    assert gradient[1:].tolist() == [0.0, 0.0, 0.0]


def test_each_side_of_a_pair_is_bounded_by_itself():
    batch = side([[[50.0]]], None, [[[-50.0]]])
    assert preference_margin(batch, 5.0).item() == 10.0


def test_no_gradient_path_through_the_counterfactual_actions_is_needed():
    """Detached counterfactual log-probabilities leave the gradient of the data actions as it is."""
    gradients = []
    for needs_gradient in (True, False):
        data = torch.tensor([[[0.3], [-0.2]]], dtype=torch.float64, requires_grad=True)
        counterfactual = torch.tensor([[[0.1], [0.4]]], dtype=torch.float64, requires_grad=needs_gradient)
        batch = SidedLogProbs(data, torch.zeros_like(data), counterfactual, torch.zeros_like(data))
        loss = prefine_loss(batch, batch, weight(2.0), beta=0.5, limit=5.0)
        gradients.append(torch.autograd.grad(loss.total.sum(), data)[0])
    assert torch.equal(*gradients)
    assert gradients[0].abs().min() > 0


def gaussians(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 7, 3, generator=generator, dtype=torch.float64) for _ in range(2))


def test_kl_is_that_of_torch_distributions():
    (mean, log_std), (mean_reference, log_std_reference) = gaussians(0), gaussians(1)
    ours = gaussian_kl(mean, log_std, mean_reference, log_std_reference)
    p, q = Normal(mean, log_std.exp()), Normal(mean_reference, log_std_reference.exp())
    torch.testing.assert_close(ours, kl_divergence(p, q).sum(-1).mean(-1))
    torch.testing.assert_close(gaussian_kl(mean, log_std, mean, log_std), torch.zeros(2, dtype=torch.float64))


def test_entropy_is_that_of_torch_distributions():
    mean, log_std = gaussians(2)
    expected = Independent(Normal(mean, log_std.exp()), 1).entropy().mean(-1)
    torch.testing.assert_close(gaussian_entropy(log_std), expected, rtol=0, atol=1e-6)
