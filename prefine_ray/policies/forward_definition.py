"""The arithmetic of acting: what a policy file computes, to the last bit, on every CPU.

This is the definition, in plain NumPy. It uses nothing but single additions, subtractions, multiplications, divisions
and comparisons, which IEEE 754 fixes to the last bit, in an order that is written down here: no library's matrix
product (its order of sums is chosen by CPU), no fused multiply-add, no library's exp or tanh.
`prefine_ray.policies.forward_compiled` computes the same bits, compiled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefine_ray.policies.architecture import Architecture

Singles = NDArray[np.float32]

# tanh(x) as a ratio of polynomials in x (the one of Eigen for float32), within 4e-7 of it.
TANH_LIMIT = np.float32(7.90531110763549805)  # beyond it the ratio is 1 to single precision
TANH_SMALL = np.float32(4e-4)  # below it tanh(x) is x to single precision
TANH_ABOVE = tuple(  # of x, x^3, ... x^13
    np.float32(value)
    for value in (
        4.89352455891786e-03,
        6.37261928875436e-04,
        1.48572235717979e-05,
        5.12229709037114e-08,
        -8.60467152213735e-11,
        2.00018790482477e-13,
        -2.76076847742355e-16,
    )
)
TANH_BELOW = tuple(  # of 1, x^2, x^4, x^6
    np.float32(value)
    for value in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)
# exp(x) = 2^k exp(r) in double precision, with r the rest of x / ln 2, and ln 2 in two parts.
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
EXP_SERIES = tuple(1.0 / math.factorial(power) for power in range(14))  # of exp(r), from the constant on


@dataclass(frozen=True)
class Parameters:
    """P policies of one architecture as plain arrays, float32."""

    architecture: Architecture
    obs_mean: Singles  # [P, 1, obs_dim]
    obs_std: Singles  # [P, 1, obs_dim]
    weights: tuple[Singles, ...]  # [P, fan_in, fan_out] of each layer
    biases: tuple[Singles, ...]  # [P, 1, fan_out]
    log_std: Singles | None  # [P, 1, act_dim], or None where a second head gives it

    @classmethod
    def from_state(cls, architecture: Architecture, state: Mapping[str, NDArray]) -> Parameters:
        """From the tensors of a policy file, by their names there."""
        arrays = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in state.items()}
        layers = range(len(architecture.layer_sizes) - 1)
        return cls(
            architecture,
            arrays["obs_mean"],
            arrays["obs_std"],
            tuple(arrays[f"weights.{layer}"] for layer in layers),
            tuple(arrays[f"biases.{layer}"] for layer in layers),
            arrays.get("log_std"),
        )


def act(parameters: Parameters, observations: Singles, noise: Singles | None, temperature: float) -> Singles:
    """Actions in [-1, 1], [P, B, act_dim].

    Args:
        parameters: of P policies.
        observations: [P, B, obs_dim].
        noise: [P, B, act_dim], standard normal; None for the mean action.
        temperature: scales sigma.
    """
    mean, log_std = forward(parameters, observations)
    if noise is not None:
        mean = mean + (np.float32(temperature) * exp(log_std)) * noise
    one = np.float32(1.0)
    return tanh(mean) if parameters.architecture.squash else clip(mean, -one, one)


def forward(parameters: Parameters, observations: Singles) -> tuple[Singles, Singles]:
    """Mean (before squashing) and log standard deviation, each [P, B, act_dim], of observations [P, B, obs_dim]."""
    architecture = parameters.architecture
    hidden = (observations - parameters.obs_mean) / parameters.obs_std
    limit = np.float32(architecture.observation_limit)
    hidden = clip(hidden, -limit, limit)
    last = len(parameters.weights) - 1
    for number, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        hidden = affine(hidden, weight, bias)
        if number < last:
            hidden = relu(hidden) if architecture.activation == "relu" else tanh(hidden)
    low, high = (np.float32(bound) for bound in architecture.log_std_bounds)
    if parameters.log_std is None:
        mean, log_std = hidden[..., : architecture.act_dim], hidden[..., architecture.act_dim :]
    else:
        mean, log_std = hidden, np.broadcast_to(parameters.log_std, hidden.shape)
    return mean, clip(log_std, low, high)


def affine(inputs: Singles, weight: Singles, bias: Singles) -> Singles:
    """bias + inputs @ weight, [P, B, fan_out], added up input by input from the first, starting with the bias."""
    total = np.broadcast_to(bias, (*inputs.shape[:2], bias.shape[-1])).copy()
    product = np.empty_like(total)
    for index in range(inputs.shape[-1]):
        np.multiply(inputs[..., index, None], weight[:, None, index], out=product)
        np.add(total, product, out=total)
    return total


def relu(values: Singles) -> Singles:
    """0 where a value is negative."""
    return np.where(values < 0, np.float32(0.0), values)


def clip(values: Singles, low: np.float32, high: np.float32) -> Singles:
    """Values limited to [low, high]; NaN stays."""
    return np.where(values < low, low, np.where(values > high, high, values))


def tanh(values: Singles) -> Singles:
    """The hyperbolic tangent, in single precision."""
    x = clip(values, -TANH_LIMIT, TANH_LIMIT)
    square = x * x
    above = square * TANH_ABOVE[-1] + TANH_ABOVE[-2]
    for coefficient in TANH_ABOVE[-3::-1]:
        above = square * above + coefficient
    below = square * TANH_BELOW[-1] + TANH_BELOW[-2]
    for coefficient in TANH_BELOW[-3::-1]:
        below = square * below + coefficient
    return np.where(np.abs(values) < TANH_SMALL, values, x * above / below)


def exp(values: Singles) -> Singles:
    """The exponential of log sigmas, computed in double precision and rounded to single."""
    x = values.astype(np.float64)
    power = np.floor(x * LOG2_E + 0.5)
    rest = (x - power * LN2_HIGH) - power * LN2_LOW
    series = np.full_like(rest, EXP_SERIES[-1])
    for coefficient in EXP_SERIES[-2::-1]:
        series = series * rest + coefficient
    with np.errstate(invalid="ignore"):  # of a diverged policy's NaN
        return np.ldexp(series, power.astype(np.int32)).astype(np.float32)
