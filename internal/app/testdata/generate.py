"""Writes cells.onnx, the graph of the platform's tests. Needs python3-onnx and numpy: python3 generate.py

Whatever a 3x64x64 image shows, the answer is one RBC at 0.9 and one WBC at 0.7, in the layout of a YOLOv8 export.
"""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# cx, cy, w, h in input px, scores of RBC and WBC
BOXES = np.array([[16, 32, 8, 8, 0.9, 0.0], [40, 32, 16, 16, 0.0, 0.7], [60, 60, 4, 4, 0.01, 0.01]], np.float32)
META = {"names": str({0: "RBC", 1: "WBC"}), "task": "detect", "imgsz": "[64, 64]", "stride": "32", "description": "test graph"}


def main():
    constants = [
        numpy_helper.from_array(BOXES.T[None], "boxes"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "axis"], ["flat"]),
        helper.make_node("Mul", ["flat", "zero"], ["nothing"]),
        helper.make_node("Add", ["boxes", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes, "cells", [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("batch", 3, 64, 64))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ("batch",) + BOXES.T.shape)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="kenkyo-testdata")
    model.ir_version = 8
    for key, value in META.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cells.onnx"), "wb") as file:
        file.write(model.SerializeToString())


if __name__ == "__main__":
    main()
