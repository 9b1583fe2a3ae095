"""Small ONNX models, made node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_product(
    path: Path,
    weights: npt.NDArray[np.float32],
    *,
    input_shape: list[int | str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a model that multiplies its input [..., T] by `weights` [T, D]."""
    shape = input_shape or ["N", len(weights)]
    out_shape = [*shape[:-1], weights.shape[1]]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["sound", "weights"], ["vector"])],
        "product",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, out_shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def write_colours(
    path: Path,
    *,
    channels_first: bool = True,
    softmax: bool = False,
    side: int | str = 32,
    weights: npt.NDArray[np.float32] | None = None,
) -> Path:
    """Write a network that classifies pictures: class n is the more probable the more there is of red, green or blue
    (n = 0, 1, 2), or by other `weights` of the three, [3, classes]."""
    weights = 10 * np.eye(3, dtype=np.float32) if weights is None else weights
    shape = ["N", 3, side, side] if channels_first else ["N", side, side, 3]
    axes = numpy_helper.from_array(np.array([2, 3] if channels_first else [1, 2], np.int64), "axes")
    nodes = [
        helper.make_node("ReduceMean", ["pictures", "axes"], ["colours"], keepdims=0),
        helper.make_node("MatMul", ["colours", "weights"], ["logits"]),
        *([helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)] if softmax else []),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", weights.shape[1]])],
        [axes, numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)
    return path
