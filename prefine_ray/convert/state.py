"""State dicts of PyTorch: reading them without running what they hold, and finding an MLP's layers in them."""

from __future__ import annotations

import io
import itertools
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prefine_ray.convert.network import Normalizer, PolicyImportError
from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.files import read_bytes
from prefine_ray.policies.architecture import UNLIMITED, Activation

WHY = "unpickling runs whatever code its author put into it; give --trust if you made it, or know who did"
_ACTIVATIONS: dict[str, Activation] = {"relu": "relu", "tanh": "tanh"}


def load_state(content: bytes, name: object, trust: bool = False) -> Any:
    """What a file of `torch.save` holds.

    Args:
        content: of the file.
        name: stands in the messages.
        trust: whether a file that holds more than tensors and plain values is unpickled, which runs code from it.

    Raises:
        PolicyImportError: it holds more and is not trusted, or is no such file.
    """
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        if not isinstance(error, pickle.UnpicklingError) or not _is_pickle(content):
            raise PolicyImportError(f"{name}: not a whole file of torch.save ({_first_line(error)})") from None
    if not trust:
        raise PolicyImportError(f"{name}: is a pickle of more than tensors, which is refused: {WHY}")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the author's code raises
        raise PolicyImportError(f"{name}: cannot be unpickled here ({_first_line(error)})") from error
    return found.state_dict() if isinstance(found, nn.Module) else found


def _is_pickle(content: bytes) -> bool:
    return content[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def tensors_of(found: Any, name: object, what: str = "a state dict") -> dict[str, Tensor]:
    """The tensors of a state dict.

    Raises:
        PolicyImportError: it is none.
    """
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise PolicyImportError(f"{name}: holds {type(found).__name__}, not {what} (names and tensors)")
    return {str(key): value.detach().cpu().float() for key, value in found.items()}


def mlp_layers(state: Mapping[str, Tensor], prefix: str, name: object) -> list[tuple[Tensor, Tensor]]:
    """The layers `<prefix>.<number>.weight` and `.bias` of a Sequential, in order; none where there are none.

    Raises:
        PolicyImportError: one is no linear layer.
    """
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.(\w+)")
    found = {key: match for key in state if (match := pattern.fullmatch(key))}
    layers = []
    for number in sorted({int(match[1]) for match in found.values()}):
        layers.append(linear(state, f"{prefix}.{number}", name))
    return layers


def linear(state: Mapping[str, Tensor], place: str, name: object) -> tuple[Tensor, Tensor]:
    """(weight [out, in], bias [out]) of the linear layer at a place.

    Raises:
        PolicyImportError: there is none, or another kind of layer.
    """
    weight, bias = state.get(f"{place}.weight"), state.get(f"{place}.bias")
    if weight is None or weight.ndim != 2:
        shape = "nothing" if weight is None else f"weights of shape {tuple(weight.shape)}"
        raise PolicyImportError(f"{name}: {place} holds {shape}; a policy of linear layers is needed (no convolution)")
    return weight, torch.zeros(len(weight)) if bias is None else bias


def check_chain(layers: list[tuple[Tensor, Tensor]], name: object) -> tuple[tuple[Tensor, Tensor], ...]:
    """The layers, which have to fit one another.

    Raises:
        PolicyImportError: there are none, or they do not fit.
    """
    if not layers:
        raise PolicyImportError(f"{name}: no linear layers of a policy in it")
    for (before, _), (after, _) in itertools.pairwise(layers):
        if after.shape[1] != before.shape[0]:
            raise PolicyImportError(
                f"{name}: a layer gives {before.shape[0]} values and the next takes {after.shape[1]}"
            )
    return tuple(layers)


def activation_named(text: str, name: object) -> Activation:
    """The activation in a text like `tanh` or `<class 'torch.nn.modules.activation.ReLU'>`.

    Raises:
        PolicyImportError: another one than tanh or ReLU.
    """
    word = text.rstrip("'>").rpartition(".")[2].lower()
    if word not in _ACTIVATIONS:
        raise PolicyImportError(f"{name}: its activation is {word}; policies here have tanh or ReLU between the layers")
    return _ACTIVATIONS[word]


def json_object(content: str | bytes, name: object) -> dict[str, Any]:
    """A JSON object.

    Raises:
        PolicyImportError: it is none.
    """
    try:
        found = parse_json(content, allow_nan=True)
    except JSONContentError as error:
        raise PolicyImportError(f"{name}: {error}") from None
    if not isinstance(found, dict):
        raise PolicyImportError(f"{name}: holds no JSON object")
    return found


def npz_normalizer(path: Path) -> Normalizer:
    """The normalisation of observations in an .npz file: `mean` and `var` [obs_dim], and `clip` and `epsilon` if any.

    Raises:
        PolicyImportError: the file is none, or lacks an array.
    """
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
            values = {key: np.asarray(arrays[key], dtype=np.float64) for key in arrays}
    except (OSError, ValueError, EOFError) as error:
        raise PolicyImportError(f"{path}: not an .npz file of plain numbers ({_first_line(error)})") from None
    if not {"mean", "var"} <= set(values):
        raise PolicyImportError(f"{path}: holds {', '.join(values) or 'nothing'}; mean and var are needed")
    epsilon, limit = values.get("epsilon", np.float64(1e-8)), values.get("clip", np.float64(UNLIMITED))
    return make_normalizer(values["mean"], values["var"], float(epsilon), float(limit), path)


def make_normalizer(mean: Any, var: Any, epsilon: float, limit: float, name: object) -> Normalizer:
    """(x - mean) / sqrt(var + epsilon), limited.

    Raises:
        PolicyImportError: the numbers are none that can be divided by.
    """
    mean, std = (
        torch.as_tensor(np.asarray(value, dtype=np.float64)).reshape(-1)
        for value in (mean, np.sqrt(np.asarray(var) + epsilon))
    )
    if (
        len(mean) != len(std)
        or not torch.isfinite(mean).all()
        or not (torch.isfinite(std) & (std > 0)).all()
        or limit <= 0
    ):
        raise PolicyImportError(f"{name}: its means and variances of observations are not finite numbers that fit")
    return Normalizer(mean.float(), std.float(), min(limit, UNLIMITED))


def unpickle(content: bytes) -> Any:
    """What a pickle holds. This runs code from it: the caller has been told to trust it."""
    return _Unpickler(io.BytesIO(content)).load()


class _Unpickler(pickle.Unpickler):
    """Puts an empty class in the place of one that is not installed here."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (_Missing,), {})


class _Missing:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)
