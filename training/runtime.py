"""ONNX export and running the exported graph."""
from __future__ import annotations

import json
import os
import subprocess
import tempfile

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from net import BINS, Detector, anchors

HERE = os.path.dirname(os.path.abspath(__file__))
OPSET = 14


class Exported(nn.Module):
    """The detector with its decoding laid out as constants, so that only the batch stays open."""

    def __init__(self, model: Detector, side: int):
        super().__init__()
        self.model, self.classes = model, model.classes
        points, strides = anchors(side, side)
        self.count = points.shape[1]
        self.register_buffer("points", points[None])
        self.register_buffer("strides", strides.view(1, 1, -1))
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, 1, BINS, 1))

    def forward(self, x: Tensor) -> Tensor:
        box, cls = self.model(x)
        p = box.reshape(-1, 4, BINS, self.count).softmax(2)
        side = (p * self.bins).sum(2) * self.strides
        low, high = self.points - side[:, :2], self.points + side[:, 2:]
        return torch.cat([(low + high) / 2, high - low, cls.sigmoid()], 1)


def export(model: nn.Module, side: int, path: str, metadata: dict[str, str]) -> None:
    """Write the graph with a dynamic batch and the metadata that other tools read."""
    model = model.eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(model, torch.zeros(1, 3, side, side), path, opset_version=OPSET, do_constant_folding=True,
                      input_names=["images"], output_names=["output0"],
                      dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}})
    graph = onnx.load(path)
    del graph.metadata_props[:]
    for key, value in metadata.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def run_onnx(path: str, x: np.ndarray, ort: str, repeats: int = 1) -> tuple[np.ndarray, dict]:
    """Output of onnxruntime-node, installed under the folder `ort`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in"), os.path.join(folder, "out")
        np.ascontiguousarray(x, np.float32).tofile(source)
        done = subprocess.run(["node", os.path.join(HERE, "ort_run.cjs"), os.path.abspath(path), source, target,
                               ",".join(map(str, x.shape)), str(repeats)], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "NODE_PATH": os.path.join(os.path.abspath(ort), "node_modules")})
        told = json.loads(done.stdout)
        return np.fromfile(target, np.float32).reshape(told["dims"]), told
