"""Safetensors files: what their header says, checked before anything is allocated; trees of tensors for checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import read_bytes, write_bytes

MAX_HEADER_BYTES = 2**24
_TREE = "tree"

Shapes = dict[str, tuple[str, tuple[int, ...]]]


def tensor_header(content: bytes, name: str | Path) -> tuple[dict[str, str], Shapes]:
    """The metadata of a safetensors file, and the (dtype, shape) of its tensors.

    Raises:
        DamagedFileError: it is none, is cut, or claims more than it holds.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise DamagedFileError(f"{name}: not a safetensors file, or damaged ({len(content)} bytes, header {length})")
    try:
        header = parse_json(content[8 : 8 + length])
    except JSONContentError as error:
        raise DamagedFileError(f"{name}: not a safetensors file, or damaged (header: {error})") from None
    if not isinstance(header, dict):
        raise DamagedFileError(f"{name}: not a safetensors file, or damaged (its header is no JSON object)")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DamagedFileError(f"{name}: not a safetensors file, or damaged (its __metadata__ is no mapping of texts)")
    return metadata, {str(key): _shape(entry, len(content) - 8 - length, name) for key, entry in header.items()}


def _shape(entry: Any, size: int, name: str | Path) -> tuple[str, tuple[int, ...]]:
    try:
        shape, (first, end) = tuple(entry["shape"]), entry["data_offsets"]
        good = all(type(number) is int and number >= 0 for number in (*shape, first, end)) and first <= end <= size
        dtype = entry["dtype"]
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise DamagedFileError(f"{name}: not a safetensors file, or damaged (a tensor lies outside of it)")
    return dtype, shape


def load_tensors(content: bytes, name: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a file's content, on the CPU. Raises as `tensor_header`."""
    tensor_header(content, name)
    try:
        return load(content)
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise DamagedFileError(f"{name}: not a safetensors file, or damaged ({error})") from error


def save_tree(path: str | Path, tree: Any) -> None:
    """Writes nested dicts, lists and tuples of tensors, numbers, texts and None; atomically and without pickle.

    Raises:
        TypeError: the tree holds anything else.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_flatten(tree, tensors))
    write_bytes(path, save(tensors, metadata={_TREE: text}))


def load_tree(path: str | Path) -> Any:
    """What `save_tree` wrote, with its tensors on the CPU.

    Raises:
        DamagedFileError: the file is missing, damaged or of another kind.
    """
    content = read_bytes(path)
    metadata, _ = tensor_header(content, path)
    tensors = load_tensors(content, path)
    try:
        return _unflatten(parse_json(metadata[_TREE], allow_nan=True), tensors)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path}: not a checkpoint's state, or damaged ({error})") from error


def _flatten(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(tree, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = tree.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[_flatten(key, tensors), _flatten(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [_flatten(item, tensors) for item in tree]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"a checkpoint's state holds {type(tree).__name__}; plain values and tensors only")


def _unflatten(content: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(content, dict):
        return content
    ((kind, value),) = content.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {_unflatten(key, tensors): _unflatten(item, tensors) for key, item in value}
    items = [_unflatten(item, tensors) for item in value]
    return {"list": list, "tuple": tuple}[kind](items)
