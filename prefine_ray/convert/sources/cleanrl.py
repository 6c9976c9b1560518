"""CleanRL: the state dicts of its continuous-action scripts, `torch.save(agent.state_dict(), ...)`.

PPO has `actor_mean` (tanh) and `actor_logstd`; SAC `fc1`, `fc2`, `fc_mean`, `fc_logstd` (ReLU); TD3 and DDPG `fc1`,
`fc2`, `fc_mu` (ReLU). PPO's observations are normalised by a gymnasium wrapper whose numbers are in no state dict.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prefine_ray.convert.network import STD, Network, Normalizer, PolicyImportError, box
from prefine_ray.convert.state import check_chain, linear, mlp_layers

_SAC_LOG_STD = (-5.0, 2.0)
_PPO_NOTE = (
    "CleanRL's PPO trains behind gymnasium's NormalizeObservation, whose numbers are not in the state dict: give them "
    "as --normalizer (an .npz file with mean and var, clip 10)"
)


def read(
    state: dict[str, Tensor], name: object, action_range: tuple[float, float], normalizer: Normalizer | None
) -> Network:
    """The policy of a state dict.

    Args:
        state: names and tensors.
        name: stands in the messages.
        action_range: the limits of every action in the environment that it was trained in.
        normalizer: what was done to observations first.

    Raises:
        PolicyImportError: it is none of CleanRL's policies with continuous actions.
    """
    if "actor_mean.0.weight" in state:
        return _ppo(state, name, action_range, normalizer)
    if "fc_mean.weight" in state or "fc_mu.weight" in state:
        return _off_policy(state, name, action_range, normalizer)
    if any("conv" in key or value.ndim == 4 for key, value in state.items()):
        raise PolicyImportError(f"{name}: is a CNN; a Gaussian MLP takes plain observations")
    if "actor.weight" in state or any(key.startswith(("q_network", "network.", "actor.")) for key in state):
        raise PolicyImportError(
            f"{name}: has discrete actions (no actor_logstd); a Gaussian policy has continuous ones"
        )
    raise PolicyImportError(
        f"{name}: no policy of CleanRL in it (actor_mean and actor_logstd, or fc1, fc2 and fc_mean or fc_mu); it has "
        f"{', '.join(list(state)[:4])}"
    )


def _ppo(state: dict[str, Tensor], name: object, limits: tuple[float, float], normalizer: Normalizer | None) -> Network:
    layers = check_chain(mlp_layers(state, "actor_mean", name), name)
    log_std = state.get("actor_logstd")
    if log_std is None:
        raise PolicyImportError(f"{name}: has actor_mean but no actor_logstd; a continuous PPO has both")
    fields = _box(state, len(layers[-1][1]), limits, name)
    note = "" if normalizer else _PPO_NOTE
    return Network(layers, "tanh", "clip", log_std=log_std.reshape(-1), normalizer=normalizer, note=note, **fields)


def _off_policy(
    state: dict[str, Tensor], name: object, limits: tuple[float, float], normalizer: Normalizer | None
) -> Network:
    hidden = [linear(state, place, name) for place in ("fc1", "fc2")]
    fields: dict[str, Any] = {"normalizer": normalizer}
    if "fc_mean.weight" in state:
        heads = [linear(state, place, name) for place in ("fc_mean", "fc_logstd")]
        last = (torch.cat([weight for weight, _ in heads]), torch.cat([bias for _, bias in heads]))
        act_dim, fields["log_std_bounds"] = len(last[1]) // 2, _SAC_LOG_STD
        return Network(
            check_chain([*hidden, _tanh_bounded(last, act_dim)], name),
            "relu",
            "tanh",
            note="CleanRL's SAC bounds log sigma by a tanh, here it is clipped to the same bounds",
            **fields,
            **_box(state, act_dim, limits, name),
        )
    last = linear(state, "fc_mu", name)
    act_dim = len(last[1])
    log_std = torch.full((act_dim,), STD).log()
    note = f"a deterministic policy: its standard deviation is set to {STD:g}"
    chain = check_chain([*hidden, last], name)
    return Network(chain, "relu", "tanh", log_std=log_std, note=note, **fields, **_box(state, act_dim, limits, name))


def _tanh_bounded(last: tuple[Tensor, Tensor], act_dim: int) -> tuple[Tensor, Tensor]:
    """The head with log sigma = -1.5 + 3.5 x, near tanh's middle what CleanRL has: -5 + 3.5 (tanh(x) + 1)."""
    low, high = _SAC_LOG_STD
    weight, bias = (part.clone() for part in last)
    weight[act_dim:] *= (high - low) / 2
    bias[act_dim:] = bias[act_dim:] * (high - low) / 2 + (high + low) / 2
    return weight, bias


def _box(state: dict[str, Tensor], act_dim: int, limits: tuple[float, float], name: object) -> dict[str, Any]:
    """From `action_scale` and `action_bias`, which the off-policy scripts keep, else from the limits."""
    if "action_scale" in state and "action_bias" in state:
        scale, bias = (state[key].reshape(-1, act_dim)[0] for key in ("action_scale", "action_bias"))
        return box(bias - scale, bias + scale, name)
    return box(torch.full((act_dim,), limits[0]), torch.full((act_dim,), limits[1]), name)
