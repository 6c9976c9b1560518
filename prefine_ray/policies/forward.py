"""Policies as plain arrays that act with the same bits on every CPU; what every rollout uses."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping

from numpy.typing import NDArray

from prefine_ray.policies import forward_definition
from prefine_ray.policies.architecture import Architecture
from prefine_ray.policies.forward_definition import Parameters, Singles

Act = Callable[[Singles, Singles | None, float], Singles]  # as `PolicyForward.act`


class PolicyForward:
    """P policies with their present weights: later changes of these are not seen."""

    def __init__(self, architecture: Architecture, state: Mapping[str, NDArray]):
        """`state`: the tensors of a policy file, by their names there."""
        parameters = Parameters.from_state(architecture, state)
        self.population = len(parameters.obs_mean)
        self._act = _make_act()(parameters)

    def act(self, observations: Singles, noise: Singles | None = None, temperature: float = 1.0) -> Singles:
        """Actions in [-1, 1], [P, B, act_dim], float32.

        Args:
            observations: [P, B, obs_dim].
            noise: [P, B, act_dim], standard normal; None for the mean action.
            temperature: scales the policy's sigma.
        """
        return self._act(observations, noise, temperature)


@functools.cache
def _make_act() -> Callable[[Parameters], Act]:
    """The compiled arithmetic, imported when it is first needed; or, with a warning, the plain one."""
    try:
        import numba

        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            raise ImportError("NUMBA_DISABLE_JIT is set")
        from prefine_ray.policies.forward_compiled import CompiledPolicies
    except ImportError as error:
        warnings.warn(
            f"Numba is unavailable ({error}): policies act in plain NumPy, with the same results, but some 10 to 100 "
            "times as slow; install the numba of requirements.txt",
            stacklevel=2,
        )
        return lambda parameters: functools.partial(forward_definition.act, parameters)
    return lambda parameters: CompiledPolicies(parameters).act
