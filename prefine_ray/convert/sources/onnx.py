"""ONNX: the linear layers in a graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.convert.chain import Step, in_task_scale, network_from_steps
from prefine_ray.convert.network import Actions, Network, PolicyImportError
from prefine_ray.convert.packages import needed

_SAME = {"Flatten", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Dropout"}  # change no value
_UNARY = {"Relu": "relu", "Tanh": "tanh"}
_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}


def read(path: Path, action_range: tuple[float, float]) -> tuple[Network, Actions]:
    """The policy of an ONNX file, and what the file itself does in onnxruntime.

    A model with several outputs is taken at its first.

    Args:
        path: the file.
        action_range: the limits of every action, where the model has none of its own.

    Raises:
        PolicyImportError: the file is none, or computes anything but a chain of linear layers.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    onnx = needed("onnx", "onnx")
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf's and onnx's own kinds
        raise PolicyImportError(f"{path}: cannot be read as ONNX ({str(error).strip().splitlines()[0]})") from None
    network = network_from_steps(_Graph(graph, path).steps(), path, action_range)
    session = run_session(path)

    def actions(observations: NDArray[np.float32]) -> NDArray[np.float64]:
        found = run_rows(session, observations)
        return in_task_scale(found.reshape(len(observations), -1), network)

    return network, actions


def run_session(path: Path) -> Any:
    """The file in onnxruntime, on one CPU thread.

    Raises:
        PolicyImportError: onnxruntime refuses it.
        MissingPackageError: onnxruntime is not installed.
    """
    runtime = needed("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds
        raise PolicyImportError(f"{path}: onnxruntime refuses it ({str(error).strip().splitlines()[0]})") from None


def run_rows(session: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output for each observation [N, obs_dim], one by one where the model takes one at a time."""
    place = session.get_inputs()[0]
    if isinstance(place.shape[0], int) and place.shape[0] != len(observations):
        return np.concatenate([session.run(None, {place.name: one[None]})[0] for one in observations])
    return session.run(None, {place.name: observations})[0]


class _Graph:
    """The nodes of a graph by their outputs, and its constants."""

    def __init__(self, graph: Any, path: Path) -> None:
        self._path = path
        self._nodes = {output: node for node in graph.node for output in node.output}
        onnx_numpy = needed("onnx.numpy_helper", "onnx")
        self._array = onnx_numpy.to_array
        self._constants = {one.name: self._array(one) for one in graph.initializer}
        inputs = [one.name for one in graph.input if one.name not in self._constants]
        if len(inputs) != 1:
            raise PolicyImportError(f"{path}: takes {len(inputs)} inputs; a policy here takes an observation alone")
        self._input, self._output = inputs[0], graph.output[0].name

    def steps(self) -> list[Step]:
        """The operations from the input to the first output, which are looked up from the end."""
        found, value = list[Step](), self._output
        while value != self._input:
            if value not in self._nodes:
                raise PolicyImportError(f"{self._path}: its first output does not depend on the observation")
            step, value = self._step(self._nodes[value])
            if step is not None:
                found.append(step)
        return found[::-1]

    def _step(self, node: Any) -> tuple[Step | None, str]:
        """One operation, and the value that it is done to."""
        kind, inputs = node.op_type, list(node.input)
        if kind in _SAME:
            return None, inputs[0]
        if kind in _UNARY:
            return Step(_UNARY[kind]), inputs[0]  # type: ignore[arg-type]
        if kind == "Gemm":
            return self._gemm(node), inputs[0]
        if kind == "MatMul":
            return Step("linear", self._needed(inputs[1]).T), inputs[0]
        if kind == "Clip":
            return Step("clip", *self._limits(node)), inputs[0]
        if kind in _BINARY:
            left, right = inputs
            if kind in ("Add", "Mul") and self._constant(left) is not None:
                left, right = right, left
            return Step(_BINARY[kind], self._needed(right)), left  # type: ignore[arg-type]
        raise PolicyImportError(
            f"{self._path}: computes {kind}; only linear layers with tanh or ReLU between them can be read"
        )

    def _gemm(self, node: Any) -> Step:
        said = _attributes(node)
        if said.get("transA"):
            raise PolicyImportError(f"{self._path}: has a Gemm that transposes its input; a linear layer does not")
        weight = self._needed(node.input[1]) * said.get("alpha", 1.0)
        bias = self._needed(node.input[2]) * said.get("beta", 1.0) if len(node.input) > 2 and node.input[2] else None
        return Step("linear", weight if said.get("transB") else weight.T, None if bias is None else bias.reshape(-1))

    def _limits(self, node: Any) -> tuple[Tensor, Tensor]:
        said = _attributes(node)
        sides = [self._needed(name) for name in node.input[1:3] if name]
        sides = sides or [torch.tensor(said[key], dtype=torch.float64) for key in ("min", "max") if key in said]
        if len(sides) != 2:
            raise PolicyImportError(f"{self._path}: a clip with one side alone; both are needed")
        return sides[0], sides[1]

    def _needed(self, name: str) -> Tensor:
        found = self._constant(name)
        if found is None:
            raise PolicyImportError(f"{self._path}: computes weights; only plain linear layers are read")
        return torch.from_numpy(np.array(found, dtype=np.float64))

    def _constant(self, name: str) -> NDArray[Any] | None:
        if name in self._constants:
            return self._constants[name]
        node = self._nodes.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            value = _attributes(node).get("value")
            return None if value is None else self._array(value)
        if node.op_type in ("Transpose", "Identity") and (found := self._constant(node.input[0])) is not None:
            return found.T if node.op_type == "Transpose" else found
        return None


def _attributes(node: Any) -> Mapping[str, Any]:
    get = needed("onnx.helper", "onnx").get_attribute_value
    return {one.name: get(one) for one in node.attribute}
