"""Writes a policy for other libraries, and a model card beside it, after comparing what was written with the policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prefine_ray.convert.card import model_card
from prefine_ray.convert.network import TOLERANCE, Actions, largest_difference, observations_for
from prefine_ray.convert.targets import onnx, sb3, torchscript
from prefine_ray.convert.targets.layers import MeanLayers, mean_layers
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import file_digest, write_text
from prefine_ray.policies.files import PolicyFileError, load_policy
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.tasks.spec import TASKS

TARGETS = {"onnx": onnx, "torchscript": torchscript, "sb3": sb3}


class PolicyExportError(PrefineError, ValueError):
    """A policy cannot be written for another library; the message says why."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    path: Path
    card: Path
    difference: float  # the largest of any action on random observations, also beyond the limit of normalised ones


def export_policy(source: Path, target: str, output: Path | None = None) -> Exported:
    """Writes the deterministic action of a policy file for another library, and a model card beside it.

    Args:
        source: a policy file that holds one policy.
        target: a key of `TARGETS`.
        output: where to write; None: in the present folder, with the name of the source.

    Raises:
        PolicyFileError: the source is none, or holds several policies.
        PolicyExportError: what was written acts otherwise; it is removed.
        MissingPackageError: the other library is not installed.
    """
    policy = load_policy(source)
    if policy.population != 1:
        raise PolicyFileError(f"{source}: holds {policy.population} policies; one is needed")
    path = output or Path(source.stem + TARGETS[target].SUFFIX)
    card = path.with_name(f"{path.name}.md")
    if path.suffix in ("", ".md", ".safetensors"):
        raise PolicyExportError(f"{path}: the name needs an ending that tells what it is: {TARGETS[target].SUFFIX}")
    layers = mean_layers(policy)
    difference = largest_difference(policy, _write(target, layers, path, policy))
    if not difference < TOLERANCE:
        path.unlink()
        raise PolicyExportError(
            f"{path}: what was written acts otherwise, by up to {difference:.1e}; under {TOLERANCE:g} is needed"
        )
    write_text(card, _card(policy, layers, target, path, source, difference))
    return Exported(path, card, difference)


def _write(target: str, layers: MeanLayers, path: Path, policy: GaussianPolicy) -> Actions:
    if target == "sb3":
        return sb3.write(layers, path, _typical_log_std(policy))
    return TARGETS[target].write(layers, path)


def _typical_log_std(policy: GaussianPolicy) -> Tensor:
    """[act_dim] the mean over random observations."""
    with torch.inference_mode():
        _, log_std = policy(torch.from_numpy(observations_for(policy))[None])
    return log_std[0].mean(0)


def _card(policy: GaussianPolicy, layers: MeanLayers, target: str, path: Path, source: Path, difference: float) -> str:
    sizes = {"obs_dim": policy.architecture.obs_dim, "act_dim": policy.architecture.act_dim}
    use = TARGETS[target].USE.format(file=path.name, algorithm=sb3.algorithm_name(layers.squash), **sizes)
    task = TASKS.get(policy.header.task) if policy.header else None
    return model_card(policy, task, use, difference, f"{source.name} ({file_digest(source)})")
