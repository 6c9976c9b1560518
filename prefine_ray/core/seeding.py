"""Randomness by derivation: every stream comes from (experiment seed, task, seed, purpose)."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

_EPISODE_SEEDS = 2**31 - 1  # simulators take seeds that fit a signed 32-bit integer


def derive(*parts: str | int) -> int:
    """A 63-bit seed from names and numbers; different parts give unrelated streams."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(*parts: str | int) -> np.random.Generator:
    """A NumPy generator of the stream named by `parts`."""
    return np.random.Generator(np.random.Philox(derive(*parts)))


def torch_generator(*parts: str | int) -> torch.Generator:
    """A CPU torch generator of the stream named by `parts`."""
    return torch.Generator().manual_seed(derive(*parts))


def episode_seeds(count: int, *parts: str | int) -> NDArray[np.int64]:
    """Reset seeds for `count` episodes; a larger count only appends to a smaller one's."""
    return numpy_generator(*parts).integers(0, _EPISODE_SEEDS, size=count)
