"""Policy files: safetensors with a JSON header in their metadata."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import read_bytes, write_bytes
from prefine_ray.core.tensor_files import Shapes, load_tensors, tensor_header
from prefine_ray.policies.architecture import OBSERVATION_LIMIT, UNLIMITED, Architecture
from prefine_ray.policies.gaussian import ACTIVATIONS, GaussianPolicy, PolicyHeader
from prefine_ray.tasks.spec import Task

_HEADER_KEY = "prefine_policy"
_FORMATS = (1, 2)  # 1 has no checksum
_EMPTY = "0" * 64  # in place of the checksum while it is computed
_MAX_BYTES = 2**32
_MAX_WIDTH = 2**16  # of a layer


class PolicyFileError(DamagedFileError):
    """A policy file is missing, damaged or of another kind."""


def policy_bytes(policy: GaussianPolicy, header: PolicyHeader) -> bytes:
    """The content of a policy file: safetensors, with a JSON header in its metadata.

    The header's `sha256` is that of the content with its own digits taken as zeros.
    """
    said = {"format": _FORMATS[-1], "sha256": _EMPTY, "architecture": _said(policy.architecture), **asdict(header)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
    content = save(tensors, metadata={_HEADER_KEY: json.dumps(said)})
    return content.replace(_EMPTY.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


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
    if not Path(path).exists():
        raise PolicyFileError(f"{path}: no such policy file")
    try:
        content = read_bytes(path, _MAX_BYTES)
    except DamagedFileError as error:
        raise PolicyFileError(str(error)) from error
    return policy_from_bytes(content, path, allow_diverged=allow_diverged)


def read_header(path: str | Path) -> PolicyHeader:
    """The metadata of a policy file without its weights. Raises as `load_policy`."""
    try:
        content = read_bytes(path, _MAX_BYTES)
        header = _read_header(tensor_header(content, path)[0], path)
    except DamagedFileError as error:
        raise PolicyFileError(str(error)) from error
    except OSError as error:
        raise PolicyFileError(f"{path}: cannot be read: {error.strerror}") from error
    return PolicyHeader(header["task"], header["made_by"], header["scores"])


def load_policy_for(task: Task, path: str | Path, force: bool = False) -> GaussianPolicy:
    """Reads a file that holds one policy for this task.

    Args:
        task: the task.
        path: the file.
        force: also where its header names another task, if the sizes fit.

    Raises:
        PolicyFileError: as `load_policy`, and when the policy does not fit or was made for another task.
    """
    policy = load_policy(path)
    sizes = (policy.architecture.obs_dim, policy.architecture.act_dim)
    made_for = policy.header.task if policy.header else ""
    if sizes != (task.obs_dim, task.act_dim):
        of_task = f", made for {made_for}," if made_for else ""
        raise PolicyFileError(
            f"{path}: this policy{of_task} takes {sizes[0]} observations and {sizes[1]} actions; "
            f"{task.name} has {task.obs_dim} and {task.act_dim}"
        )
    if made_for and made_for != task.name and not force:
        raise PolicyFileError(f"{path}: this policy was made for {made_for}, not {task.name}; --force uses it anyway")
    if policy.population != 1:
        raise PolicyFileError(f"{path}: holds {policy.population} policies; one is needed")
    return policy


def policy_from_bytes(content: bytes, name: str | Path = "policy", *, allow_diverged: bool = False) -> GaussianPolicy:
    """The policy in a file's content; `name` stands in the error messages. Raises as `load_policy`."""
    try:
        metadata, shapes = tensor_header(content, name)
        header = _read_header(metadata, name)
        architecture = _architecture(header, name)
        population = _population(architecture, shapes, name)
        _check_digest(content, header, name)
        tensors = load_tensors(content, name)
    except DamagedFileError as error:
        raise PolicyFileError(str(error)) from error
    policy = GaussianPolicy(architecture, population)
    policy.load_state_dict(tensors)
    policy.header = PolicyHeader(header["task"], header["made_by"], header["scores"])
    if not allow_diverged:
        _check_values(policy, name)
    return policy


def _said(architecture: Architecture) -> dict[str, Any]:
    """An architecture as the header gives it: the usual limit of observations goes without saying, as it always did."""
    fields = asdict(architecture)
    if architecture.observation_limit == OBSERVATION_LIMIT:
        del fields["observation_limit"]
    return fields


def _read_header(metadata: dict[str, str], name: str | Path) -> dict[str, Any]:
    """The JSON header in the metadata."""
    if _HEADER_KEY not in metadata:
        raise PolicyFileError(f"{name}: a safetensors file, but not a policy of this project (no {_HEADER_KEY} header)")
    try:
        header = parse_json(metadata[_HEADER_KEY], allow_nan=True)  # axes that do not apply to a cell
    except JSONContentError as error:
        raise PolicyFileError(f"{name}: its {_HEADER_KEY} header is not a JSON object ({error})") from error
    if not isinstance(header, dict):
        raise PolicyFileError(f"{name}: its {_HEADER_KEY} header is not a JSON object")
    version = header.get("format")
    if type(version) is not int or version not in _FORMATS:
        raise PolicyFileError(f"{name}: policy format {version}, this version reads {_FORMATS[-1]} and older ones")
    for key, kind in (("task", str), ("made_by", dict), ("scores", dict)):
        if not isinstance(header.get(key), kind):
            raise PolicyFileError(
                f"{name}: its header and its tensors do not fit together ({key} is no {kind.__name__})"
            )
    return header


def _check_digest(content: bytes, header: dict[str, Any], name: str | Path) -> None:
    if header["format"] == 1 and "sha256" not in header:
        return
    said = header.get("sha256")
    if isinstance(said, str) and len(said) == len(_EMPTY):
        whole = content.replace(said.encode(), _EMPTY.encode(), 1)
        if hashlib.sha256(whole).hexdigest() == said:
            return
    raise PolicyFileError(f"{name}: its content is not what was written (checksum); it was cut or altered")


def _architecture(header: dict[str, Any], name: str | Path) -> Architecture:
    """The architecture that a header names, with every field of its type and in its range."""
    fields: Any = header.get("architecture")
    try:
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
        one = Architecture(**values)
        sizes = (one.obs_dim, one.act_dim, *one.hidden)
        low, high = one.log_std_bounds
        flags = (one.state_dependent_std, one.squash)
        good = (
            all(type(size) is int and 0 < size <= _MAX_WIDTH for size in sizes)
            and len(one.hidden) <= 16
            and one.activation in ACTIVATIONS
            and all(isinstance(flag, bool) for flag in flags)
            and math.isfinite(low)
            and math.isfinite(high)
            and low <= high
            and 0 < one.observation_limit <= UNLIMITED
        )
    except (AttributeError, TypeError, ValueError):
        good = False
    if not good:
        raise PolicyFileError(f"{name}: its header and its tensors do not fit together (architecture {fields})")
    return one


def _population(architecture: Architecture, shapes: Shapes, name: str | Path) -> int:
    """The number of policies, after comparing every tensor's shape; nothing has been allocated yet."""
    population = (shapes.get("obs_mean", ("", ()))[1] or (0,))[0]
    expected = {key: ("F32", shape) for key, shape in architecture.shapes(population).items()}
    if population < 1 or shapes != expected:
        odd = sorted(key for key in {*shapes, *expected} if shapes.get(key) != expected.get(key)) or ["obs_mean"]
        raise PolicyFileError(f"{name}: its header and its tensors do not fit together ({', '.join(odd[:4])})")
    return population


def _check_values(policy: GaussianPolicy, name: str | Path) -> None:
    for key, finite in policy.finite_tensors().items():
        if not finite.all():
            raise PolicyFileError(f"{name}: {key} holds NaN or infinity")
    if not (policy.obs_std > 0).all():
        raise PolicyFileError(f"{name}: obs_std holds values that are not above 0")
