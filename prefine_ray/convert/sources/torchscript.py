"""TorchScript: the linear layers in the graph of a scripted or traced module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.convert.chain import Step, in_task_scale, network_from_steps
from prefine_ray.convert.network import Actions, Network, PolicyImportError

_SAME = {  # change no value
    *("aten::flatten", "aten::reshape", "aten::view", "aten::to", "aten::detach", "aten::contiguous", "aten::dropout"),
    *("aten::squeeze", "aten::unsqueeze", "aten::clone", "aten::float", "aten::alias"),
}
_UNARY = {"aten::relu": "relu", "aten::relu_": "relu", "aten::tanh": "tanh", "aten::tanh_": "tanh"}
_BINARY = {f"aten::{kind}{end}": kind for kind in ("add", "sub", "mul", "div") for end in ("", "_")}
_CLIPS = ("aten::clamp", "aten::clamp_", "aten::hardtanh", "aten::hardtanh_", "aten::clip")


def read(path: Path, action_range: tuple[float, float]) -> tuple[Network, Actions]:
    """The policy of a TorchScript file, and what the file itself does.

    A module that returns several values is taken at its first. Loading runs no Python code of the author's.

    Args:
        path: of `torch.jit.save`.
        action_range: the limits of every action, where the module has none of its own.

    Raises:
        PolicyImportError: the file is none, or computes anything but a chain of linear layers.
    """
    try:
        module = torch.jit.load(str(path), map_location="cpu")
        module.eval()
        graph = _frozen(module).inlined_graph
    except (RuntimeError, ValueError, OSError) as error:
        raise PolicyImportError(
            f"{path}: cannot be read as TorchScript ({str(error).strip().splitlines()[0]})"
        ) from None
    inputs = [value for value in graph.inputs() if value.debugName().partition(".")[0] != "self"]
    if len(inputs) != 1:
        raise PolicyImportError(f"{path}: takes {len(inputs)} inputs; a policy here takes an observation alone")
    (output, *_) = graph.outputs()
    network = network_from_steps(_steps(output, inputs[0], path), path, action_range)

    def actions(observations: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.inference_mode():
            found = module(torch.from_numpy(observations))
        found = found[0] if isinstance(found, tuple | list) else found
        return in_task_scale(found.reshape(len(observations), -1).numpy(), network)

    return network, actions


def _frozen(module: Any) -> Any:
    """With its weights as constants; a module that was saved frozen stays as it is."""
    try:
        return torch.jit.freeze(module, optimize_numerics=False)
    except RuntimeError:
        return module


def _steps(output: Any, start: Any, path: Path) -> list[Step]:
    """The operations from the input to the output, which are looked up from the end."""
    steps: list[Step] = []
    value = output
    while value.debugName() != start.debugName():
        node = value.node()
        operands = list(node.inputs())
        step, value = _step(node.kind(), operands, path)
        if step is not None:
            steps.append(step)
    return steps[::-1]


def _step(kind: str, operands: list[Any], path: Path) -> tuple[Step | None, Any]:
    """One operation, and the value that it is done to."""
    if kind in ("prim::TupleConstruct", "prim::ListConstruct") or kind in _SAME:
        return None, operands[0]
    if kind in _UNARY:
        return Step(_UNARY[kind]), operands[0]  # type: ignore[arg-type]
    if kind == "aten::linear":
        return Step("linear", _constant(operands[1], path), _constant(operands[2], path)), operands[0]
    if kind == "aten::addmm":
        return Step("linear", _needed(operands[2], path).T, _constant(operands[0], path)), operands[1]
    if kind == "aten::matmul":
        return Step("linear", _needed(operands[1], path).T), operands[0]
    if kind in _CLIPS:
        return Step("clip", _needed(operands[1], path), _needed(operands[2], path)), operands[0]
    if kind in _BINARY and (len(operands) < 3 or float(_needed(operands[2], path)) == 1.0):
        return _binary(_BINARY[kind], operands, path)
    raise PolicyImportError(f"{path}: computes {kind}; only linear layers with tanh or ReLU between them can be read")


def _binary(kind: str, operands: list[Any], path: Path) -> tuple[Step, Any]:
    """With the constant on the right, or on the left where that is the same."""
    left, right = operands[:2]
    if kind in ("add", "mul") and _is_constant(left):
        left, right = right, left
    return Step(kind, _needed(right, path)), left  # type: ignore[arg-type]


def _is_constant(value: Any) -> bool:
    node = value.node()
    return node.kind() == "prim::Constant" or (node.kind() == "aten::t" and _is_constant(next(iter(node.inputs()))))


def _constant(value: Any, path: Path) -> Tensor | None:
    """A constant as a tensor in double precision; None where it is None."""
    node = value.node()
    if not _is_constant(value):
        raise PolicyImportError(
            f"{path}: has {node.kind()} where a weight is needed; only plain linear layers are read"
        )
    if node.kind() == "aten::t":
        return _needed(next(iter(node.inputs())), path).T
    found = value.toIValue()
    return None if found is None else torch.as_tensor(found).detach().double()


def _needed(value: Any, path: Path) -> Tensor:
    found = _constant(value, path)
    if found is None:
        raise PolicyImportError(f"{path}: a clip with one side alone; both are needed")
    return found
