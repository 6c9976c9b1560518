"""Import of RLlib checkpoints as policies: our own runs', and those of PPO with RLlib's default MLP module."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.filter import RunningStat
from torch import Tensor

from prefine_ray.core.errors import PrefineError
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.pretrain.rllib import ActorCritic

_MODULE_FOLDERS = (f"learner_group/learner/rl_module/{DEFAULT_MODULE_ID}", f"rl_module/{DEFAULT_MODULE_ID}", "")
_CONNECTORS = "env_runner/env_to_module_connector"
_FILTER = "MeanStdFilter"
_PLAIN_CONNECTORS = {
    "AddObservationsFromEpisodesToBatch",
    "AddTimeDimToBatchAndZeroPad",
    "AddStatesFromEpisodesToBatch",
    "BatchIndividualItems",
    "NumpyToTensor",
}
_OBSERVATION_CLIP = 10.0  # of the normalised observation, in GaussianPolicy and in RLlib's filter by default
_WIDE = 1e4  # deviation given to unnormalised observations, so that the clip never touches them


class RLlibImportError(PrefineError, ValueError):
    """A checkpoint cannot be imported as a GaussianPolicy."""


def policy_from_rllib(checkpoint_path: str | Path) -> GaussianPolicy:
    """The policy of an RLlib checkpoint (new API stack, one module).

    A checkpoint is unpickled, which runs code from it: import only those you trust.

    Args:
        checkpoint_path: a folder made by `Algorithm.save_to_path`, by `pretrain`, or of the module itself.

    Raises:
        RLlibImportError: there is no module, or it is not one that a GaussianPolicy can hold.
    """
    path = _algorithm_folder(Path(checkpoint_path))
    folder = next((path / part for part in _MODULE_FOLDERS if (path / part / "module_state.pkl").is_file()), None)
    if folder is None:
        raise RLlibImportError(f"{path}: no RLlib module here; expected {_MODULE_FOLDERS[0]}/module_state.pkl in it")
    module = RLModule.from_checkpoint(str(folder.resolve()))
    if isinstance(module, ActorCritic):
        return copy.deepcopy(module.policy)
    if not isinstance(module, DefaultPPOTorchRLModule):
        raise RLlibImportError(f"{folder}: module {type(module).__name__}; only PPO's default MLP module is imported")
    return _from_default_module(module, folder, _observation_filter(path))


def _algorithm_folder(path: Path) -> Path:
    """`path`, or the newest checkpoint of a run of `pretrain` in it."""
    runs = sorted(path.glob("checkpoints/[0-9]*/algorithm"))
    return runs[-1] if runs else path


def _from_default_module(
    module: DefaultPPOTorchRLModule, folder: Path, normalization: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> GaussianPolicy:
    state = module.state_dict()
    architecture = _architecture(module, state, folder)
    layers = _layers(state)
    policy = GaussianPolicy(architecture)
    with torch.no_grad():
        for number, (weight, bias) in enumerate(layers):
            policy.weights[number].copy_(weight.T[None])
            policy.biases[number].copy_(bias[None, None])
        if not architecture.state_dependent_std:
            policy.log_std.copy_(state["pi.log_std"][None, None])
        if normalization is None:
            policy.obs_std.fill_(_WIDE)
            policy.weights[0].mul_(_WIDE)
        else:
            mean, std = (torch.from_numpy(value).float() for value in normalization)
            policy.set_normalization(mean, std, floor=0.0)
    return policy


def _architecture(module: DefaultPPOTorchRLModule, state: dict[str, Tensor], folder: Path) -> Architecture:
    settings = cast("dict[str, Any]", module.model_config)
    refused = [key for key in ("use_lstm", "fcnet_use_layernorm", "head_fcnet_use_layernorm") if settings.get(key)]
    if refused or settings.get("conv_filters"):
        raise RLlibImportError(
            f"{folder}: its network has {', '.join(refused) or 'conv_filters'}; expected a plain MLP"
        )
    activations = {settings["fcnet_activation"]}
    if settings["head_fcnet_hiddens"]:
        activations.add(settings["head_fcnet_activation"])
    activation = activations.pop()
    if activations or activation not in ("relu", "tanh"):
        raise RLlibImportError(f"{folder}: its activations are not all tanh or all relu")
    layers = _layers(state)
    free = "pi.log_std" in state
    outputs = len(layers[-1][1])
    bound = float(settings["log_std_clip_param"])
    return Architecture(
        obs_dim=layers[0][0].shape[1],
        act_dim=outputs if free else outputs // 2,
        hidden=tuple(len(bias) for _, bias in layers[:-1]),
        activation=activation,
        state_dependent_std=not free,
        log_std_bounds=(-bound, bound),
    )


def _layers(state: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(weight [out, in], bias [out]) of the actor's layers from the observation to the output."""
    own = "encoder.actor_encoder.net.mlp."
    encoder = own if any(key.startswith(own) for key in state) else "encoder.encoder.net.mlp."
    layers = []
    for prefix in (encoder, "pi.net.mlp."):
        numbers = sorted(int(key[len(prefix) : -len(".weight")]) for key in state if _is_weight(key, prefix))
        layers += [(state[f"{prefix}{number}.weight"], state[f"{prefix}{number}.bias"]) for number in numbers]
    return layers


def _is_weight(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key.endswith(".weight")


def _observation_filter(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and deviation of RLlib's MeanStdFilter, None where the observations go in as they are."""
    folder = path / _CONNECTORS
    if not folder.is_dir():
        return None
    pieces = _unpickle(folder / "class_and_ctor_args.pkl")["ctor_args_and_kwargs"][1]["connectors"]
    names = {piece[0].__name__ for piece in pieces}
    unknown = names - _PLAIN_CONNECTORS - {_FILTER}
    if unknown:
        raise RLlibImportError(f"{folder}: cannot import a policy behind the connectors {', '.join(sorted(unknown))}")
    if _FILTER not in names:
        return None
    (state,) = _unpickle(folder / _FILTER / "state.pkl").values()
    kind = (state["de_mean_to_zero"], state["de_std_to_one"], state["clip_by_value"])
    if kind != (True, True, _OBSERVATION_CLIP):
        raise RLlibImportError(f"{folder}: {_FILTER} must remove mean and deviation and clip at {_OBSERVATION_CLIP:g}")
    statistics = RunningStat.from_state(state["running_stats"][0])
    return np.asarray(statistics.mean), np.asarray(statistics.std) + 1e-8


def _unpickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return pickle.load(file)
