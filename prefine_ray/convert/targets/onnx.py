"""ONNX: observations [N, obs_dim] to actions [N, act_dim], for onnxruntime and others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from prefine_ray.convert.network import Actions
from prefine_ray.convert.packages import needed
from prefine_ray.convert.sources.onnx import run_rows, run_session
from prefine_ray.convert.targets.layers import MeanLayers
from prefine_ray.core.files import write_bytes

SUFFIX = ".onnx"
USE = """```python
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
(actions,) = session.run(None, {{"observations": observations}})  # float32 [N, {obs_dim}] -> [N, {act_dim}]
```"""
_OPSET, _IR_VERSION = 17, 8


class _Builder:
    """Nodes one after the other."""

    def __init__(self) -> None:
        self._helper, self._numpy = needed("onnx.helper", "onnx"), needed("onnx.numpy_helper", "onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.value = "observations"

    def add(self, kind: str, *constants: Tensor, output: str | None = None, **attributes: Any) -> None:
        """An operation on the last value and constants."""
        names = [f"constant{len(self.constants) + place}" for place in range(len(constants))]
        for name, tensor in zip(names, constants, strict=True):
            self.constants.append(self._numpy.from_array(tensor.float().numpy(), name))
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, [self.value, *names], [output], **attributes))
        self.value = output


def write(layers: MeanLayers, path: Path) -> Actions:
    """Writes the file; what it does in onnxruntime.

    Raises:
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    onnx, helper = needed("onnx", "onnx"), needed("onnx.helper", "onnx")
    build = _Builder()
    if not layers.plain:
        build.add("Sub", layers.mean)
        build.add("Div", layers.std)
    if layers.limit is not None:
        build.add("Clip", *layers.mean.new_tensor([[-layers.limit], [layers.limit]]).squeeze(1).unbind())
    for number, (weight, bias) in enumerate(layers.layers):
        if number:
            build.add("Relu" if layers.activation == "relu" else "Tanh")
        build.add("Gemm", weight, bias, transB=1)
    if layers.squash:
        build.add("Tanh", output="actions")
    else:
        build.add("Clip", *layers.mean.new_tensor([-1.0, 1.0]).unbind(), output="actions")
    obs_dim, act_dim = layers.layers[0][0].shape[1], layers.layers[-1][0].shape[0]
    sides = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("observations", obs_dim), ("actions", act_dim))
    ]
    graph = helper.make_graph(build.nodes, "policy", sides[:1], sides[1:], build.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())
    session = run_session(path)
    return lambda observations: run_rows(session, observations)
