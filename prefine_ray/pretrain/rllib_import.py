"""Import of RLlib checkpoints as policies: our own runs', and PPO's and SAC's with RLlib's default MLP modules."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.filter import RunningStat
from torch import Tensor

from prefine_ray.convert.importing import Imported, checked, checked_policy
from prefine_ray.convert.network import Network, Normalizer, PolicyImportError, box, to_policy
from prefine_ray.convert.state import WHY, unpickle
from prefine_ray.core.files import read_bytes
from prefine_ray.policies.architecture import UNLIMITED, Activation
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.pretrain.rllib import ActorCritic
from prefine_ray.tasks.spec import Task

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
_ENCODERS = ("encoder.actor_encoder.net.mlp.", "encoder.encoder.net.mlp.", "pi_encoder.net.mlp.")
_HEAD = "pi.net.mlp."
_SAC_LOG_STD = (-5.0, 2.0)  # of RLlib's TorchSquashedGaussian
_SAC_NOTE = "RLlib's own explore=False gives SAC's mean without the tanh of its training; here the tanh is kept"


class RLlibImportError(PolicyImportError):
    """A checkpoint cannot be imported as a GaussianPolicy."""


def policy_from_rllib(checkpoint_path: str | Path) -> GaussianPolicy:
    """The policy of an RLlib checkpoint (new API stack, one module).

    A checkpoint is unpickled, which runs code from it: import only those you trust.

    Args:
        checkpoint_path: a folder made by `Algorithm.save_to_path`, by `pretrain`, or of the module itself.

    Raises:
        RLlibImportError: there is no module, or it is not one that a GaussianPolicy can hold.
    """
    module, folder, path = _load(Path(checkpoint_path))
    if isinstance(module, ActorCritic):
        return copy.deepcopy(module.policy)
    return to_policy(_network(module, folder, _observation_filter(path)))


def import_rllib(checkpoint: Path, task: Task, trust: bool) -> Imported:
    """The policy of a checkpoint, compared with RLlib's module on random observations.

    Raises:
        RLlibImportError: as `policy_from_rllib`, or the checkpoint is not trusted.
        PolicyImportError: it has other sizes than the task's, or acts otherwise.
    """
    if not trust:
        raise RLlibImportError(f"{checkpoint}: RLlib's checkpoints are pickles, which are refused: {WHY}")
    module, folder, path = _load(checkpoint)
    if isinstance(module, ActorCritic):
        actions = _module_actions(module, None, squash=False)
        return checked_policy(copy.deepcopy(module.policy), actions, task, checkpoint, "rllib")
    network = _network(module, folder, _observation_filter(path))
    actions = _module_actions(module, network.normalizer, squash=network.output == "tanh")
    return checked(network, actions, task, checkpoint, "rllib")


def _load(checkpoint: Path) -> tuple[RLModule, Path, Path]:
    """The module, its folder and that of the algorithm."""
    path = _algorithm_folder(checkpoint)
    folder = next((path / part for part in _MODULE_FOLDERS if (path / part / "module_state.pkl").is_file()), None)
    if folder is None:
        raise RLlibImportError(f"{path}: no RLlib module here; expected {_MODULE_FOLDERS[0]}/module_state.pkl in it")
    return RLModule.from_checkpoint(str(folder.resolve())), folder, path


def _module_actions(module: RLModule, normalizer: Normalizer | None, squash: bool) -> Any:
    """What RLlib's module itself does, in the scale [-1, 1] in which RLlib has its actions."""

    def actions(observations: NDArray[np.float32]) -> NDArray[np.floating]:
        seen = torch.from_numpy(observations).double()
        if normalizer:
            seen = ((seen - normalizer.mean) / normalizer.std).clamp(-normalizer.limit, normalizer.limit)
        with torch.inference_mode():
            mean, _ = module.forward_inference({"obs": seen.float()})["action_dist_inputs"].chunk(2, dim=-1)
        return (torch.tanh(mean) if squash else mean.clamp(-1.0, 1.0)).numpy()

    return actions


def _algorithm_folder(path: Path) -> Path:
    """`path`, or the newest checkpoint of a run of `pretrain` in it."""
    runs = sorted(path.glob("checkpoints/[0-9]*/algorithm"))
    return runs[-1] if runs else path


def _network(module: RLModule, folder: Path, normalizer: Normalizer | None) -> Network:
    if not isinstance(module, DefaultPPOTorchRLModule | DefaultSACTorchRLModule):
        kind = type(module).__name__
        raise RLlibImportError(f"{folder}: module {kind}; only PPO's and SAC's default MLP modules are imported")
    if not isinstance(module.action_space, gym.spaces.Box):
        kind = type(module.action_space).__name__
        raise RLlibImportError(f"{folder}: its actions are {kind}; a Gaussian policy has continuous ones (Box)")
    state, squash = module.state_dict(), isinstance(module, DefaultSACTorchRLModule)
    settings = _settings(module, folder)
    layers = _layers(state)
    bound = float(settings["log_std_clip_param"])
    act_dim = int(np.prod(module.action_space.shape))
    return Network(
        layers=tuple(layers),
        activation=_activation(settings, folder),
        output="tanh" if squash else "clip",
        log_std=state.get("pi.log_std"),
        log_std_bounds=_SAC_LOG_STD if squash else (-bound, bound),
        normalizer=normalizer,
        note=_SAC_NOTE if squash else "",
        **box([-1.0] * act_dim, [1.0] * act_dim, folder),  # RLlib normalises actions (normalize_actions)
    )


def _settings(module: RLModule, folder: Path) -> dict[str, Any]:
    """The model's settings, with RLlib's defaults for those that are not said."""
    said = module.model_config
    given = dataclasses.asdict(said) if isinstance(said, DefaultModelConfig) else dict(said or {})
    settings = dataclasses.asdict(DefaultModelConfig()) | given
    refused = [key for key in ("use_lstm", "fcnet_use_layernorm", "head_fcnet_use_layernorm") if settings.get(key)]
    if refused or settings.get("conv_filters"):
        raise RLlibImportError(
            f"{folder}: its network has {', '.join(refused) or 'conv_filters'}; expected a plain MLP"
        )
    return settings


def _activation(settings: dict[str, Any], folder: Path) -> Activation:
    activations = {settings["fcnet_activation"]}
    if settings["head_fcnet_hiddens"]:
        activations.add(settings["head_fcnet_activation"])
    activation = activations.pop()
    if activations or activation not in ("relu", "tanh"):
        raise RLlibImportError(f"{folder}: its activations are not all tanh or all relu")
    return activation


def _layers(state: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(weight [out, in], bias [out]) of the actor's layers from the observation to the output."""
    encoder = next(one for one in _ENCODERS if any(key.startswith(one) for key in state))
    layers = []
    for prefix in (encoder, _HEAD):
        numbers = sorted(int(key[len(prefix) : -len(".weight")]) for key in state if _is_weight(key, prefix))
        layers += [(state[f"{prefix}{number}.weight"], state[f"{prefix}{number}.bias"]) for number in numbers]
    return layers


def _is_weight(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key.endswith(".weight")


def _observation_filter(path: Path) -> Normalizer | None:
    """RLlib's MeanStdFilter, None where the observations go in as they are."""
    folder = path / _CONNECTORS
    if not folder.is_dir():
        return None
    pieces = unpickle(read_bytes(folder / "class_and_ctor_args.pkl"))["ctor_args_and_kwargs"][1]["connectors"]
    names = {piece[0].__name__ for piece in pieces}
    unknown = names - _PLAIN_CONNECTORS - {_FILTER}
    if unknown:
        raise RLlibImportError(f"{folder}: cannot import a policy behind the connectors {', '.join(sorted(unknown))}")
    if _FILTER not in names:
        return None
    (state,) = unpickle(read_bytes(folder / _FILTER / "state.pkl")).values()
    if not (state["de_mean_to_zero"] and state["de_std_to_one"]):
        raise RLlibImportError(f"{folder}: {_FILTER} must remove both mean and deviation")
    statistics = RunningStat.from_state(state["running_stats"][0])
    mean, std = torch.as_tensor(np.asarray(statistics.mean)), torch.as_tensor(np.asarray(statistics.std) + 1e-8)
    return Normalizer(mean.float(), std.float(), float(state["clip_by_value"] or UNLIMITED))
