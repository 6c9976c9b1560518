"""Policy files: safetensors with a JSON header in their metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import write_bytes
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy, PolicyHeader
from prefine_ray.tasks.spec import Task

_HEADER_KEY = "prefine_policy"


_FORMAT = 1


class PolicyFileError(PrefineError, ValueError):
    """A policy file is missing, damaged or of another kind."""


def policy_bytes(policy: GaussianPolicy, header: PolicyHeader) -> bytes:
    """The content of a policy file: safetensors, with a JSON header in its metadata."""
    text = json.dumps({"format": _FORMAT, "architecture": asdict(policy.architecture), **asdict(header)})
    tensors = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
    return save(tensors, metadata={_HEADER_KEY: text})


def save_policy(policy: GaussianPolicy, path: str | Path, header: PolicyHeader) -> None:
    """Writes a policy of population 1 or more atomically."""
    write_bytes(path, policy_bytes(policy, header))


def load_policy(path: str | Path, *, allow_diverged: bool = False) -> GaussianPolicy:
    """Reads a policy file; its `header` says where it comes from.

    Args:
        path: the file.
        allow_diverged: whether members of the population may hold NaN or infinity.

    Raises:
        PolicyFileError: the file is missing, damaged, or not a policy of this format.
    """
    if not Path(path).is_file():
        raise PolicyFileError(f"{path}: no such policy file")
    return policy_from_bytes(Path(path).read_bytes(), path, allow_diverged=allow_diverged)


def load_policy_for(task: Task, path: str | Path) -> GaussianPolicy:
    """Reads a file that holds one policy for this task. Raises as `load_policy`, and when the policy does not fit."""
    policy = load_policy(path)
    sizes = (policy.architecture.obs_dim, policy.architecture.act_dim)
    if sizes != (task.obs_dim, task.act_dim):
        made_for = f", made for {policy.header.task}," if policy.header and policy.header.task else ""
        raise PolicyFileError(
            f"{path}: this policy{made_for} takes {sizes[0]} observations and {sizes[1]} actions; "
            f"{task.name} has {task.obs_dim} and {task.act_dim}"
        )
    if policy.population != 1:
        raise PolicyFileError(f"{path}: holds {policy.population} policies; one is needed")
    return policy


def policy_from_bytes(content: bytes, name: str | Path = "policy", *, allow_diverged: bool = False) -> GaussianPolicy:
    """The policy in a file's content; `name` stands in the error messages. Raises as `load_policy`."""
    header = _read_header(content, name)
    try:
        tensors = load(content)
        fields = header["architecture"]
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        policy = GaussianPolicy(Architecture(**arguments), tensors["obs_mean"].shape[0])
        policy.load_state_dict(tensors)
        policy.header = PolicyHeader(header["task"], header["made_by"], header["scores"])
    except (KeyError, TypeError, RuntimeError, IndexError, SafetensorError) as error:
        raise PolicyFileError(f"{name}: its header and its tensors do not fit together ({error})") from error
    if not allow_diverged:
        _check(policy, name)
    return policy


def _read_header(content: bytes, name: str | Path) -> dict[str, Any]:
    """The JSON header in the metadata of a safetensors file: 8 bytes of length, then JSON."""
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        load(content)
    except (ValueError, AttributeError, SafetensorError) as error:
        raise PolicyFileError(f"{name}: not a safetensors file, or damaged ({error})") from error
    if _HEADER_KEY not in metadata:
        raise PolicyFileError(f"{name}: a safetensors file, but not a policy of this project (no {_HEADER_KEY} header)")
    try:
        header = json.loads(metadata[_HEADER_KEY])
        version = header.get("format")
    except (ValueError, AttributeError) as error:
        raise PolicyFileError(f"{name}: its {_HEADER_KEY} header is not a JSON object ({error})") from error
    if version != _FORMAT:
        raise PolicyFileError(f"{name}: policy format {version}, this version reads {_FORMAT}")
    return header


def _check(policy: GaussianPolicy, name: str | Path) -> None:
    for key, value in policy.state_dict().items():
        if not torch.isfinite(value).all():
            raise PolicyFileError(f"{name}: {key} holds NaN or infinity")
