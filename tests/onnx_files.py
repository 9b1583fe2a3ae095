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
