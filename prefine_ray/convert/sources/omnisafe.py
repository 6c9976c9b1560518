"""OmniSafe: `torch_save/epoch-N.pt` with the state dicts `pi` and, if observations were normalised, `obs_normalizer`.

On-policy algorithms have `mean` and `log_std`, SAC `net` with twice the actions, TD3 and DDPG `net` behind a tanh. The
activation is in the run's `config.json`, one folder up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prefine_ray.convert.network import STD, Network, Normalizer, PolicyImportError, box
from prefine_ray.convert.state import activation_named, check_chain, json_object, mlp_layers, tensors_of
from prefine_ray.core.files import read_bytes
from prefine_ray.policies.architecture import UNLIMITED, Activation

_SAC_LOG_STD = (-20.0, 2.0)


def read(found: dict[str, Any], path: Path, activation: str | None, act_dim: int) -> Network:
    """The policy of a file of OmniSafe, whose actions are in [-1, 1] (its environments are behind ActionScale).

    Args:
        found: what the file holds.
        path: the file.
        activation: of the network; None: from the run's config.json.
        act_dim: the task's number of actions, which tells SAC's network from TD3's.

    Raises:
        PolicyImportError: it holds another kind of policy.
    """
    pi = tensors_of(found["pi"], f"{path}: pi")
    between = activation_named(activation, path) if activation else _said_activation(path)
    fields: dict[str, Any] = box([-1.0] * act_dim, [1.0] * act_dim, path)
    fields["normalizer"] = _normalizer(found, path)
    layers = mlp_layers(pi, "mean", path)
    if layers:
        if "log_std" not in pi:
            raise PolicyImportError(f"{path}: its actor has mean but no log_std; GaussianLearningActor has both")
        return Network(check_chain(layers, path), between, "clip", log_std=pi["log_std"].reshape(-1), **fields)
    layers = list(check_chain(mlp_layers(pi, "net", path), path))
    if len(layers[-1][1]) == 2 * act_dim:
        return Network(tuple(layers), between, "tanh", log_std_bounds=_SAC_LOG_STD, **fields)
    note = f"a deterministic policy: its standard deviation is set to {STD:g}"
    log_std = torch.full((act_dim,), STD).log()
    return Network(tuple(layers), between, "tanh", log_std=log_std, note=note, **fields)


def _said_activation(path: Path) -> Activation:
    """`model_cfgs.actor.activation` of the run's config.json."""
    config = path.resolve().parent.parent / "config.json"
    if not config.is_file():
        raise PolicyImportError(
            f"{path}: the activation is not in the file and there is no {config}; give --activation tanh or relu"
        )
    try:
        return activation_named(str(json_object(read_bytes(config), config)["model_cfgs"]["actor"]["activation"]), path)
    except (KeyError, TypeError):
        raise PolicyImportError(
            f"{config}: has no model_cfgs.actor.activation; give --activation tanh or relu"
        ) from None


def _normalizer(found: dict[str, Any], path: Path) -> Normalizer | None:
    """OmniSafe's Normalizer, which leaves observations alone until it has seen two."""
    if found.get("obs_normalizer") is None:
        return None
    state: dict[str, Tensor] = tensors_of(found["obs_normalizer"], f"{path}: obs_normalizer")
    try:
        mean, std, count, clip = (state[key] for key in ("_mean", "_std", "_count", "_clip"))
    except KeyError as error:
        raise PolicyImportError(f"{path}: obs_normalizer has no {error}") from None
    if count <= 1:
        return None
    limit = float(clip.reshape(-1)[0])
    if not (clip == limit).all():
        raise PolicyImportError(f"{path}: obs_normalizer clips observations at several limits; one is possible")
    return Normalizer(mean.reshape(-1), std.reshape(-1), min(limit, UNLIMITED))
