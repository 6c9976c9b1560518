"""What MLflow loads a logged policy with (`mlflow.pyfunc.load_model`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import GaussianPolicy


class PolicyModel:
    """A policy behind MLflow's `predict`."""

    def __init__(self, policy: GaussianPolicy):
        self.policy = policy

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Actions [N, act_dim] in [-1, 1] for observations [N, obs_dim]: the policy's mean.

        Args:
            model_input: observations as an array or a data frame.
            params: none are known.
        """
        return self.policy.predict(np.asarray(model_input, dtype=np.float32))[0]


def _load_pyfunc(path: str) -> PolicyModel:
    """MLflow calls it with the path of the policy file."""
    return PolicyModel(load_policy(path))
