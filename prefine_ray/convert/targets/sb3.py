"""Stable-Baselines3: a zip that `PPO.load` reads, or `SAC.load` where the policy squashes its actions by a tanh.

It carries the mean action. The normalisation of observations, with its limit, is a features extractor whose class is
saved in the zip itself, as SB3 saves classes of its users: the zip needs nothing of this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.convert.network import Actions
from prefine_ray.convert.packages import needed
from prefine_ray.convert.targets.layers import MeanLayers
from prefine_ray.core.files import atomic_path

SUFFIX = ".zip"
USE = """```python
from stable_baselines3 import {algorithm}

model = {algorithm}.load("{file}")
actions, _ = model.predict(observations, deterministic=True)  # [N, {obs_dim}] -> [N, {act_dim}]
```

The zip carries the **deterministic** action alone: critic and optimiser are new, and the standard deviation is one for
all states. Read it with the Python (3.11, say) that wrote it, as every zip of Stable-Baselines3 that holds classes."""


class _Spaces(gymnasium.Env):
    """Spaces without an environment."""

    def __init__(self, obs_dim: int, act_dim: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (act_dim,), np.float32)


def algorithm_name(squash: bool) -> str:
    """Whose zip it is."""
    return "SAC" if squash else "PPO"


def write(layers: MeanLayers, path: Path, log_std: Tensor) -> Actions:
    """Writes the zip; what Stable-Baselines3 does with it.

    Args:
        layers: of the policy.
        path: the zip.
        log_std: [act_dim] one for all states.

    Raises:
        MissingPackageError: stable-baselines3 is not installed.
    """
    sb3 = needed("stable_baselines3", "stable-baselines3")
    algorithm = getattr(sb3, algorithm_name(layers.squash))
    model = _model(algorithm, layers)
    with torch.no_grad():
        (_fill_sac if layers.squash else _fill_ppo)(model.policy, layers, log_std)
    with atomic_path(path) as temporary:
        model.save(temporary)
    loaded = algorithm.load(path, device="cpu")

    def actions(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        return loaded.predict(observations, deterministic=True)[0]

    return actions


def _model(algorithm: Any, layers: MeanLayers) -> Any:
    obs_dim, act_dim = layers.layers[0][0].shape[1], layers.layers[-1][0].shape[0]
    hidden = [len(bias) for _, bias in layers.layers[:-1]]
    kwargs: dict[str, Any] = {"activation_fn": torch.nn.ReLU if layers.activation == "relu" else torch.nn.Tanh}
    kwargs["net_arch"] = {"pi": hidden, "qf": []} if layers.squash else {"pi": hidden, "vf": []}
    if not layers.plain:
        kwargs["features_extractor_class"] = _extractor_class()
        kwargs["features_extractor_kwargs"] = {
            "mean": layers.mean.tolist(),
            "std": layers.std.tolist(),
            "limit": layers.limit,
        }
    size = {"buffer_size": 1} if layers.squash else {}
    return algorithm("MlpPolicy", _Spaces(obs_dim, act_dim), policy_kwargs=kwargs, device="cpu", seed=0, **size)


def _extractor_class() -> type:
    """Made here, so that pickle keeps the class itself and not this module's name."""
    import torch
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class NormalizedObservations(BaseFeaturesExtractor):
        """(x - mean) / std, limited to [-limit, limit]."""

        def __init__(self, observation_space: Any, mean: list[float], std: list[float], limit: float | None) -> None:
            super().__init__(observation_space, len(mean))
            self.register_buffer("mean", torch.tensor(mean))
            self.register_buffer("std", torch.tensor(std))
            self.register_buffer("limit", torch.tensor(float("inf") if limit is None else limit))

        def forward(self, observations: Any) -> Any:
            limit: Any = self.limit
            return ((observations - self.mean) / self.std).clamp(-limit, limit)

    return NormalizedObservations


def _fill_ppo(policy: Any, layers: MeanLayers, log_std: Tensor) -> None:
    *hidden, last = layers.layers
    for module, layer in zip(_linear_modules(policy.mlp_extractor.policy_net), hidden, strict=True):
        _copy(module, layer)
    _copy(policy.action_net, last)
    policy.log_std.copy_(log_std)


def _fill_sac(policy: Any, layers: MeanLayers, log_std: Tensor) -> None:
    *hidden, last = layers.layers
    for module, layer in zip(_linear_modules(policy.actor.latent_pi), hidden, strict=True):
        _copy(module, layer)
    _copy(policy.actor.mu, last)
    policy.actor.log_std.weight.zero_()
    policy.actor.log_std.bias.copy_(log_std)


def _linear_modules(whole: Any) -> list[Any]:
    return [module for module in whole if isinstance(module, torch.nn.Linear)]


def _copy(module: Any, layer: tuple[Tensor, Tensor]) -> None:
    module.weight.copy_(layer[0])
    module.bias.copy_(layer[1])
