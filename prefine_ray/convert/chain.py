"""A computation graph's steps from the observation to the action, put together to a `Network`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.convert.network import STD, Network, Normalizer, PolicyImportError, box
from prefine_ray.convert.state import check_chain
from prefine_ray.policies.architecture import UNLIMITED, Activation

Kind = Literal["linear", "relu", "tanh", "add", "sub", "mul", "div", "clip"]
_NEEDED = "linear layers with tanh or ReLU between them, behind (x - mean) / std if at all, are needed"


@dataclass(frozen=True)
class Step:
    """One operation on what came before, with its constants in double precision."""

    kind: Kind
    first: Tensor | None = None  # weight [out, in]; the other operand; the lower limit
    second: Tensor | None = None  # bias [out]; the upper limit


@dataclass
class _Parts:
    """What has been read so far."""

    name: object
    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)  # after which layers
    scale: Any = 1.0  # of the observation: scale * x + shift
    shift: Any = 0.0
    limit: float | None = None
    squashed: bool = False
    stretch: Any = None  # of the squashed output: stretch * tanh + middle
    middle: Any = 0.0
    clip: tuple[Tensor, Tensor] | None = None  # of the output

    def refuse(self, step: Step) -> PolicyImportError:
        return PolicyImportError(f"{self.name}: has {step.kind} in a place where no Gaussian MLP has it; {_NEEDED}")


def network_from_steps(steps: Sequence[Step], name: object, action_range: tuple[float, float]) -> Network:
    """The network of these steps.

    Args:
        steps: from the observation to the action.
        name: stands in the messages.
        action_range: the limits of every action, where the steps themselves have none.

    Raises:
        PolicyImportError: the steps are none of a Gaussian MLP.
    """
    parts = _Parts(name)
    for number, step in enumerate(steps):
        if not parts.layers:
            _before(parts, step)
        elif any(later.kind == "linear" for later in steps[number:]):
            _between(parts, step)
        else:
            _after(parts, step)
    return _network(parts, action_range)


def _before(parts: _Parts, step: Step) -> None:
    """Normalisation, and the first layer."""
    if step.kind == "linear":
        parts.layers.append(_layer(step))
    elif parts.limit is not None:
        raise parts.refuse(step)
    elif step.kind == "clip":
        parts.limit = _symmetric(parts, step)
    elif step.kind in ("add", "sub"):
        parts.shift = parts.shift + step.first if step.kind == "add" else parts.shift - step.first
    elif step.kind in ("mul", "div"):
        factor = step.first if step.kind == "mul" else 1.0 / step.first  # type: ignore[operator]
        parts.scale, parts.shift = parts.scale * factor, parts.shift * factor
    else:
        raise parts.refuse(step)


def _between(parts: _Parts, step: Step) -> None:
    """Hidden layers."""
    if step.kind == "add" and len(parts.activations) < len(parts.layers):
        _add_bias(parts, step)
    elif step.kind == "linear" and len(parts.activations) == len(parts.layers):
        parts.layers.append(_layer(step))
    elif step.kind == "relu" and len(parts.activations) < len(parts.layers):
        parts.activations.append("relu")
    elif step.kind == "tanh" and len(parts.activations) < len(parts.layers):
        parts.activations.append("tanh")
    else:
        raise parts.refuse(step)


def _after(parts: _Parts, step: Step) -> None:
    """The last bias, and what makes an action of the mean."""
    if parts.clip is not None:
        raise parts.refuse(step)
    if step.kind == "clip":
        parts.clip = None if parts.squashed else (step.first, step.second)  # type: ignore[assignment]
    elif step.kind == "tanh" and not parts.squashed:
        parts.squashed, parts.stretch = True, 1.0
    elif step.kind == "add" and parts.squashed:
        parts.middle = parts.middle + step.first
    elif step.kind == "mul" and parts.squashed:
        parts.stretch, parts.middle = parts.stretch * step.first, parts.middle * step.first
    elif step.kind == "add":
        _add_bias(parts, step)
    else:
        raise parts.refuse(step)


def _layer(step: Step) -> tuple[Tensor, Tensor]:
    assert step.first is not None
    return step.first, torch.zeros(len(step.first), dtype=torch.float64) if step.second is None else step.second


def _add_bias(parts: _Parts, step: Step) -> None:
    weight, bias = parts.layers[-1]
    assert step.first is not None
    parts.layers[-1] = weight, bias + step.first.reshape(-1)


def _symmetric(parts: _Parts, step: Step) -> float:
    """The one limit of normalised observations."""
    assert step.first is not None
    assert step.second is not None
    limits = torch.cat([-step.first.reshape(-1), step.second.reshape(-1)])
    if not (limits == limits[0]).all() or limits[0] <= 0:
        raise PolicyImportError(f"{parts.name}: clips observations to several limits; one, from -c to c, is possible")
    return min(float(limits[0]), UNLIMITED)


def _network(parts: _Parts, action_range: tuple[float, float]) -> Network:
    layers = [(weight.float(), bias.float()) for weight, bias in parts.layers]
    if len(set(parts.activations)) > 1:
        raise PolicyImportError(f"{parts.name}: has both tanh and ReLU between its layers; one kind is needed")
    chain = check_chain(layers, parts.name)
    return Network(
        chain,
        parts.activations[0] if parts.activations else "relu",
        "tanh" if parts.squashed else "clip",
        log_std=torch.full((len(chain[-1][1]),), math.log(STD)) + _log_half(parts, len(chain[-1][1]), action_range),
        normalizer=_normalizer(parts, chain[0][0].shape[1]),
        note=f"the file holds no standard deviation: {STD:g} is used (of actions in [-1, 1])",
        **_box(parts, len(chain[-1][1]), action_range),
    )


def _box(parts: _Parts, act_dim: int, action_range: tuple[float, float]) -> dict[str, Any]:
    if parts.squashed:
        low, high = parts.middle - parts.stretch, parts.middle + parts.stretch
    else:
        low, high = parts.clip or action_range
    sides = [torch.as_tensor(side, dtype=torch.float64).reshape(-1).expand(act_dim) for side in (low, high)]
    return box(sides[0], sides[1], parts.name)


def _log_half(parts: _Parts, act_dim: int, action_range: tuple[float, float]) -> Tensor | float:
    """What makes sigma that of actions in [-1, 1], where the mean is that of a wider box."""
    sides = _box(parts, act_dim, action_range)
    return 0.0 if parts.squashed else ((sides["high"] - sides["low"]) / 2).log()


def _normalizer(parts: _Parts, obs_dim: int) -> Normalizer | None:
    scale, shift = (
        torch.as_tensor(value, dtype=torch.float64).reshape(-1).expand(obs_dim) for value in (parts.scale, parts.shift)
    )
    if (scale == 1).all() and (shift == 0).all() and parts.limit is None:
        return None
    if not (scale > 0).all() or not torch.isfinite(shift / scale).all():
        raise PolicyImportError(f"{parts.name}: scales observations by numbers that are not above 0")
    return Normalizer((-shift / scale).float(), (1 / scale).float(), parts.limit or UNLIMITED)


def in_task_scale(actions: NDArray[np.floating], network: Network) -> NDArray[np.float64]:
    """Actions [N, act_dim] of the file's own box, in the task's scale [-1, 1]."""
    low, high = network.low.double().numpy(), network.high.double().numpy()
    return 2.0 * (np.clip(actions.astype(np.float64), low, high) - low) / (high - low) - 1.0
