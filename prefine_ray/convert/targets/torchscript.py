"""TorchScript: a module that `torch.jit.load` and LibTorch read without this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prefine_ray.convert.network import Actions
from prefine_ray.convert.targets.layers import MeanLayers
from prefine_ray.core.files import atomic_path
from prefine_ray.policies.architecture import UNLIMITED

SUFFIX = ".pt"
USE = """```python
import torch

policy = torch.jit.load("{file}")
actions = policy(observations)  # float32 tensor [N, {obs_dim}] -> [N, {act_dim}]
```"""


class _MeanAction(nn.Module):
    """Observations [N, obs_dim] to actions [N, act_dim]."""

    def __init__(self, layers: MeanLayers) -> None:
        super().__init__()
        self.register_buffer("mean", layers.mean)
        self.register_buffer("std", layers.std)
        self.limit = UNLIMITED if layers.limit is None else layers.limit
        self.squash = layers.squash
        parts: list[nn.Module] = []
        for weight, bias in layers.layers:
            if parts:
                parts.append(nn.ReLU() if layers.activation == "relu" else nn.Tanh())
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
            parts.append(linear)
        self.layers = nn.Sequential(*parts)

    def forward(self, observations: Tensor) -> Tensor:
        hidden = (observations - self.mean) / self.std  # type: ignore[operator]
        hidden = hidden.clamp(-self.limit, self.limit)
        means = self.layers(hidden)
        return torch.tanh(means) if self.squash else means.clamp(-1.0, 1.0)


def write(layers: MeanLayers, path: Path) -> Actions:
    """Writes the file; what it does in PyTorch."""
    with atomic_path(path) as temporary:
        torch.jit.save(torch.jit.script(_MeanAction(layers).eval()), str(temporary))
    module = torch.jit.load(str(path))

    def actions(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(torch.from_numpy(observations)).numpy()

    return actions
