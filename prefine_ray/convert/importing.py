"""Reads a policy file of another library and checks that the policy acts as the file does."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefine_ray.convert.network import (
    TOLERANCE,
    Actions,
    Network,
    Normalizer,
    PolicyImportError,
    check_sizes,
    largest_difference,
    to_policy,
)
from prefine_ray.convert.sources import cleanrl, omnisafe, onnx, sb3, torchscript
from prefine_ray.convert.state import load_state, npz_normalizer, tensors_of
from prefine_ray.core.files import file_digest, read_bytes
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.tasks.spec import Task

SOURCES = ("sb3", "rllib", "cleanrl", "omnisafe", "torchscript", "onnx")


@dataclass(frozen=True)
class ImportOptions:
    """What a file itself does not say."""

    trust: bool = False  # whether a pickle is unpickled, which runs code from it
    vecnormalize: Path | None = None  # of Stable-Baselines3
    normalizer: Path | None = None  # an .npz file with mean and var, for CleanRL
    activation: str | None = None  # for OmniSafe without its config.json
    action_range: tuple[float, float] = (-1.0, 1.0)  # of CleanRL, TorchScript and ONNX without limits of their own


@dataclass(frozen=True)
class Imported:
    """A policy, and how it was checked."""

    policy: GaussianPolicy
    difference: float  # the largest of any action on random observations
    source: str  # one of SOURCES
    note: str = ""


def detect(path: Path) -> str:
    """Which library a file is of, by its content.

    Raises:
        PolicyImportError: nothing is known of it.
    """
    if path.is_dir():
        return "rllib"
    if not path.is_file():
        raise PolicyImportError(f"{path}: there is no such file or folder")
    if path.suffix == ".onnx":
        return "onnx"
    if sb3.is_sb3(path):
        return "sb3"
    if zipfile.is_zipfile(path):
        names = zipfile.ZipFile(path).namelist()
        if any(name.endswith("constants.pkl") for name in names):
            return "torchscript"
        if any(name.endswith("data.pkl") for name in names):
            return "torch"
    raise PolicyImportError(f"{path}: of no library that is known; say which with --from {'|'.join(SOURCES)}")


def import_file(path: Path, task: Task, source: str | None, options: ImportOptions) -> Imported:
    """The policy of a file, which acts as the file does to 1e-5 on random observations.

    Args:
        path: a file of Stable-Baselines3, CleanRL, OmniSafe, TorchScript or ONNX.
        task: what it is for; it has the sizes and the name.
        source: one of `SOURCES`; None: found out.
        options: what the file does not say.

    Raises:
        PolicyImportError: it cannot be read, or no Gaussian MLP can hold its policy, or they act differently.
    """
    kind = source or detect(path)
    found = load_state(read_bytes(path), path, options.trust) if kind in ("torch", "cleanrl", "omnisafe") else None
    if kind == "torch":
        kind = "omnisafe" if isinstance(found, Mapping) and "pi" in found else "cleanrl"
    network, actions = _read(kind, path, found, task, options)
    return checked(network, actions or network.actions, task, path, kind)


def _read(kind: str, path: Path, found: Any, task: Task, options: ImportOptions) -> tuple[Network, Actions | None]:
    if options.vecnormalize and kind != "sb3":
        raise PolicyImportError(f"{options.vecnormalize}: VecNormalize belongs to Stable-Baselines3; {path} is {kind}")
    if options.normalizer and kind not in ("cleanrl", "sb3"):
        raise PolicyImportError(f"{options.normalizer}: --normalizer goes with cleanrl and sb3; {path} is {kind}")
    if kind == "sb3":
        return sb3.read(path, options.vecnormalize, options.trust, _normalizer(options)), None
    if kind == "cleanrl":
        state = tensors_of(found[0] if isinstance(found, tuple | list) and found else found, path)
        return cleanrl.read(state, path, options.action_range, _normalizer(options)), None
    if kind == "omnisafe":
        if not isinstance(found, Mapping) or "pi" not in found:
            raise PolicyImportError(f"{path}: holds no pi; OmniSafe's torch_save/epoch-N.pt does")
        return omnisafe.read(dict(found), path, options.activation, task.act_dim), None
    return (torchscript if kind == "torchscript" else onnx).read(path, options.action_range)


def _normalizer(options: ImportOptions) -> Normalizer | None:
    return npz_normalizer(options.normalizer) if options.normalizer else None


def checked(network: Network, actions: Actions, task: Task, path: Path, source: str) -> Imported:
    """The network's policy, if it has the task's sizes and acts as `actions` do.

    Raises:
        PolicyImportError: it does not.
    """
    check_sizes(network.obs_dim, network.act_dim, task, path)
    return replace(checked_policy(to_policy(network), actions, task, path, source), note=network.note)


def checked_policy(policy: GaussianPolicy, actions: Actions, task: Task, path: Path, source: str) -> Imported:
    """The same of a policy.

    Raises:
        PolicyImportError: as `checked`.
    """
    check_sizes(policy.architecture.obs_dim, policy.architecture.act_dim, task, path)
    _check_finite(policy, path)
    difference = largest_difference(policy, actions)
    if not difference < TOLERANCE:
        raise PolicyImportError(
            f"{path}: the policy's actions differ by {difference:.1e} from the file's; under {TOLERANCE:g} is needed"
        )
    made_by = {"command": "import", "source": source, "file": path.name}
    if path.is_file():
        made_by["file_sha256"] = file_digest(path)
    policy.header = PolicyHeader(task.name, {**made_by, "largest_difference": difference})
    return Imported(policy, difference, source)


def _check_finite(policy: GaussianPolicy, path: Path) -> None:
    for key, finite in policy.finite_tensors().items():
        if not finite.all():
            raise PolicyImportError(f"{path}: its tensors hold NaN or infinity ({key})")
    if not (policy.obs_std > 0).all():
        raise PolicyImportError(f"{path}: some standard deviations of its observations are 0 in single precision")
