"""Stable-Baselines3: the zip files of PPO, A2C, SAC, TD3 and DDPG, read without unpickling anything.

The tensors in `policy.pth` are loaded as tensors only; what else is needed stands as text in the JSON beside them.
`VecNormalize` is saved as a pickle.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.convert.network import STD, Network, Normalizer, PolicyImportError, box
from prefine_ray.convert.state import (
    WHY,
    activation_named,
    check_chain,
    json_object,
    linear,
    load_state,
    make_normalizer,
    mlp_layers,
    tensors_of,
    unpickle,
)
from prefine_ray.core.files import read_bytes
from prefine_ray.policies.architecture import Activation

_SAC_LOG_STD = (-20.0, 2.0)
_MOST_BYTES = 2**32
_OWN_EXTRACTOR = {"mean", "std", "limit"}  # of a zip that `prefine export` wrote
_OWN_PLACES = ("pi_features_extractor", "features_extractor", "actor.features_extractor")


def is_sb3(path: Path) -> bool:
    """Whether it looks like a zip of Stable-Baselines3."""
    return zipfile.is_zipfile(path) and {"data", "policy.pth"} <= set(zipfile.ZipFile(path).namelist())


def read(
    path: Path, vecnormalize: Path | None = None, trust: bool = False, normalizer: Normalizer | None = None
) -> Network:
    """The policy of a zip of Stable-Baselines3.

    Args:
        path: the zip.
        vecnormalize: the file of `VecNormalize.save`, where the policy was trained behind one.
        trust: whether that file, a pickle, is unpickled.
        normalizer: the same, from elsewhere.

    Raises:
        PolicyImportError: it cannot be read, or holds a policy that no Gaussian MLP can be.
    """
    about, state = _contents(path)
    _refuse(about, state, path)
    space = about["action_space"]
    fields: dict[str, Any] = box(_numbers(space.get("low"), path), _numbers(space.get("high"), path), path)
    fields["normalizer"] = read_vecnormalize(vecnormalize, trust) if vecnormalize else normalizer
    fields["normalizer"] = _own_normalizer(state, fields["normalizer"], path)
    if "actor.latent_pi.0.weight" in state or "actor.mu.weight" in state:
        return _sac(state, _activation(about, "relu", path), fields, path)
    if "actor.mu.0.weight" in state:
        return _td3(state, _activation(about, "relu", path), fields, path)
    return _ppo(state, _activation(about, "tanh", path), fields, path)


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The JSON and the tensors."""
    try:
        with zipfile.ZipFile(path) as whole:
            if sum(one.file_size for one in whole.infolist()) > _MOST_BYTES:
                raise PolicyImportError(f"{path}: unpacks to more than {_MOST_BYTES} bytes")
            about, tensors = whole.read("data"), whole.read("policy.pth")
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise PolicyImportError(f"{path}: not a zip of Stable-Baselines3 ({error})") from None
    return json_object(about, f"{path}: data"), tensors_of(load_state(tensors, f"{path}: policy.pth"), path)


def _refuse(about: dict[str, Any], state: dict[str, Tensor], path: Path) -> None:
    """Refuses what no Gaussian MLP can hold."""
    space = about.get("action_space")
    kind = str(space.get(":type:", "")).rstrip("'>").rpartition(".")[2] if isinstance(space, dict) else "none"
    if kind != "Box":
        raise PolicyImportError(f"{path}: its actions are {kind}; a Gaussian policy has continuous ones (Box)")
    if about.get("use_sde"):
        raise PolicyImportError(
            f"{path}: was trained with gSDE, whose noise depends on the last features; use_sde=False"
        )
    if {key.rpartition(".")[2] for key in state if "features_extractor." in key} - _OWN_EXTRACTOR:
        raise PolicyImportError(
            f"{path}: has a features extractor with weights (a CNN or one of its own); only MlpPolicy is imported"
        )
    if any(".lstm" in key or key.startswith("lstm") for key in state):
        raise PolicyImportError(f"{path}: is recurrent (LSTM); a policy here acts on one observation")
    if not any(key.startswith(("actor.", "action_net.")) for key in state):
        raise PolicyImportError(f"{path}: has no actor (is it DQN?); PPO, A2C, SAC, TD3 and DDPG are imported")


def _own_normalizer(state: dict[str, Tensor], given: Normalizer | None, path: Path) -> Normalizer | None:
    """The normalisation in a zip that `prefine export` wrote, else the given one."""
    place = next((key for key in _OWN_PLACES if f"{key}.mean" in state), None)
    if place is None:
        return given
    if given is not None:
        raise PolicyImportError(f"{path}: normalises observations itself; leave the other normalisation out")
    return Normalizer(state[f"{place}.mean"], state[f"{place}.std"], float(state[f"{place}.limit"]))


def _activation(about: dict[str, Any], default: Activation, path: Path) -> Activation:
    """What stands in `policy_kwargs`, else the default of the algorithm."""
    kwargs = about.get("policy_kwargs")
    said = kwargs.get("activation_fn") if isinstance(kwargs, dict) else None
    return default if said is None else activation_named(str(said), path)


def _numbers(text: Any, path: Path) -> NDArray[np.float64]:
    """The numbers of an array in NumPy's print, `[-2.  1.]`."""
    try:
        return np.array([float(word) for word in str(text).replace("[", " ").replace("]", " ").split()])
    except ValueError:
        raise PolicyImportError(f"{path}: the limits of its actions are not numbers ({text})") from None


def _ppo(state: dict[str, Tensor], activation: Activation, fields: dict[str, Any], path: Path) -> Network:
    layers = [*mlp_layers(state, "mlp_extractor.policy_net", path), linear(state, "action_net", path)]
    return Network(check_chain(layers, path), activation, "clip", log_std=state["log_std"], **fields)


def _sac(state: dict[str, Tensor], activation: Activation, fields: dict[str, Any], path: Path) -> Network:
    heads = [linear(state, place, path) for place in ("actor.mu", "actor.log_std")]
    both = (torch.cat([weight for weight, _ in heads]), torch.cat([bias for _, bias in heads]))
    layers = [*mlp_layers(state, "actor.latent_pi", path), both]
    return Network(check_chain(layers, path), activation, "tanh", log_std_bounds=_SAC_LOG_STD, **fields)


def _td3(state: dict[str, Tensor], activation: Activation, fields: dict[str, Any], path: Path) -> Network:
    layers = check_chain(mlp_layers(state, "actor.mu", path), path)
    log_std = torch.full((len(layers[-1][1]),), float(np.log(STD)))
    note = f"a deterministic policy: its standard deviation is set to {STD:g}"
    return Network(layers, activation, "tanh", log_std=log_std, note=note, **fields)


def read_vecnormalize(path: Path, trust: bool) -> Normalizer:
    """The normalisation in a file of `VecNormalize.save`.

    Raises:
        PolicyImportError: it is not trusted, is none, or does not normalise observations.
    """
    if not trust:
        raise PolicyImportError(
            f"{path}: VecNormalize saves a pickle, which is refused: {WHY}; or put obs_rms.mean and .var into an .npz "
            "file (keys mean, var, epsilon, clip) and give it as --normalizer"
        )
    try:
        found = unpickle(read_bytes(path))
        statistics = found.obs_rms
        mean, var, epsilon, limit = statistics.mean, statistics.var, found.epsilon, found.clip_obs
    except Exception as error:  # whatever the author's code raises
        raise PolicyImportError(f"{path}: not a VecNormalize that can be read here ({error})") from error
    if not found.norm_obs:
        raise PolicyImportError(f"{path}: does not normalise observations (norm_obs=False); leave it out")
    return make_normalizer(mean, var, float(epsilon), float(limit), path)
