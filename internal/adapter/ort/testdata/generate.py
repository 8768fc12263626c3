"""Writes the tiny ONNX graphs that the tests load. Needs python3-onnx and numpy: python3 generate.py

Every graph takes a 3x32x32 image (unless its name says otherwise) and answers with constants that depend on the mean of its
input, so that a test can tell images of a batch apart: output = A + B * mean(image).
"""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = {0: "RBC", 1: "WBC"}
YOLO_META = {
    "description": "Ultralytics YOLOv8n model trained on cells.yaml", "author": "Ultralytics", "version": "8.3.0",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)", "stride": "32", "task": "detect", "batch": "1",
    "imgsz": "[32, 32]", "names": str(NAMES), "args": "{'batch': 1, 'half': False, 'dynamic': False, 'nms': False}",
}

# cx, cy, w, h in input px, scores of RBC and WBC: two overlapping RBC, one WBC over them, one weak box.
BOXES = np.array([[8, 8, 8, 8, 0.9, 0.1], [9, 8, 8, 8, 0.8, 0.0], [8, 8, 8, 8, 0.0, 0.7], [24, 24, 4, 6, 0.2, 0.1]], np.float32)


def initializer(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def mean_nodes(source, rank):
    """Nodes that reduce [B,3,H,W] to [B,1,1] (rank 3) or [B,1] (rank 2)."""
    nodes = [
        helper.make_node("ReduceMean", [source], ["m1"], axes=[1, 2], keepdims=1),
        helper.make_node("Squeeze", ["m1", "axis1"], ["m2"]),
        helper.make_node("ReduceMean", ["m2"], ["m3" if rank == 2 else "mean"], axes=[2], keepdims=1),
    ]
    if rank == 2:
        nodes.append(helper.make_node("Squeeze", ["m3", "axis1"], ["mean"]))
    return nodes


def write(name, nodes, inits, inputs, outputs, meta):
    graph = helper.make_graph(nodes, name, inputs, outputs, inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="kenkyo-testdata")
    model.ir_version = 8
    for key, value in meta.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with open(os.path.join(HERE, name + ".onnx"), "wb") as file:
        file.write(model.SerializeToString())


def answer(name, a, b, meta, shape=(1, 3, 32, 32), out=None, dtype=TensorProto.FLOAT, prologue=(), inits=(), source="images",
           tail="output", extra_outputs=(), open_sizes=False):
    """A graph whose output is a + b * mean."""
    kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    a, b = np.asarray(a, kind), np.asarray(b, kind)
    nodes = list(prologue) + mean_nodes(source, a.ndim) + [
        helper.make_node("Mul", ["b", "mean"], ["scaled"]),
        helper.make_node("Add", ["a", "scaled"], [tail]),
    ]
    if tail != "output":
        nodes.append(helper.make_node("Softmax", [tail], ["output"], axis=1))
    if open_sizes:  # cut at an end that only the input's shape tells, so that no size is known beforehand
        nodes[-1].output[0] = "known"
        nodes += [helper.make_node("Shape", [source], ["sizes"]), helper.make_node("Gather", ["sizes", "axis12"], ["ends"]),
                  helper.make_node("Mul", ["ends", "six"], ["far"]),
                  helper.make_node("Slice", ["known", "zeros", "far", "axis12"], ["output"])]
        inits = list(inits) + [initializer("axis12", np.array([1, 2])), initializer("zeros", np.array([0, 0])),
                               initializer("six", np.array([6, 6]))]
    for extra in extra_outputs:
        nodes.append(helper.make_node("Identity", ["extra_value"], [extra]))
    out = out or (shape[0],) + a.shape[1:]
    outputs = [helper.make_tensor_value_info("output", dtype, out)]
    inits = [initializer("a", a), initializer("b", b), initializer("axis1", np.array([1], np.int64))] + list(inits)
    if extra_outputs:
        inits.append(initializer("extra_value", np.zeros((1, 3, 4, 4, 7), kind)))
        outputs += [helper.make_tensor_value_info(e, dtype, (1, 3, 4, 4, 7)) for e in extra_outputs]
    write(name, nodes, inits, [helper.make_tensor_value_info("images", dtype, shape)], outputs, meta)


def main():
    v8 = BOXES.T[None]
    v8_b = np.zeros_like(v8)
    v8_b[0, 4, 3] = 0.5  # the weak box becomes an RBC of 0.2 + 0.5 * mean
    v5 = np.concatenate([BOXES[:, :4], np.full((4, 1), 0.5, np.float32), BOXES[:, 4:] * 1.0], axis=1)[None]
    v5_b = np.zeros_like(v5)
    v5_b[0, :, 4] = 0.5  # objectness 0.5 + 0.5 * mean
    v5_meta = {"stride": "32", "names": str(["RBC", "WBC"])}
    answer("yolov8", v8, v8_b, YOLO_META)
    answer("yolov8_batch", v8, v8_b, YOLO_META, shape=("batch", 3, 32, 32))
    answer("yolov8_dynamic", v8, v8_b, {**YOLO_META, "imgsz": "[64, 32]"}, shape=("batch", "channels", "height", "width"),
           out=("batch", 6, "anchors"), open_sizes=True)
    answer("yolov8_batch4", v8, v8_b, YOLO_META, shape=(4, 3, 32, 32))
    answer("yolov8_no_names", v8, v8_b, {})
    answer("yolov8_end2end", v8, v8_b, {**YOLO_META, "end2end": "True"})
    answer("yolov8_nms", v8, v8_b, {**YOLO_META, "args": "{'batch': 1, 'nms': True}"})
    answer("yolov8_segment", v8, v8_b, {**YOLO_META, "task": "segment"})
    answer("yolov8_three_names", v8, v8_b, {**YOLO_META, "names": "{0: 'a', 1: 'b', 2: 'c'}"})
    answer("yolov8_wrong_imgsz", v8, v8_b, {**YOLO_META, "imgsz": "[640, 640]"})
    answer("yolov8_all_open", v8, v8_b, YOLO_META, shape=("n", "c", "h", "w"), out=("n", "a", "b"), open_sizes=True)
    answer("yolov8_fp16", v8, v8_b, YOLO_META, dtype=TensorProto.FLOAT16)
    answer("yolov8_int8", v8, v8_b, YOLO_META, source="dequantised", prologue=[
        helper.make_node("QuantizeLinear", ["images", "q_scale", "q_zero"], ["quantised"]),
        helper.make_node("DequantizeLinear", ["quantised", "q_scale", "q_zero"], ["dequantised"]),
    ], inits=[initializer("q_scale", np.float32(1 / 255)), initializer("q_zero", np.uint8(0))])
    answer("yolov5", v5, v5_b, v5_meta)
    answer("yolov5_heads", v5, v5_b, v5_meta, extra_outputs=["h1", "h2", "h3"])
    answer("ambiguous", np.zeros((1, 6, 7), np.float32), np.zeros((1, 6, 7), np.float32), YOLO_META)
    classes = {"task": "classify", "names": "{0: 'Background', 1: 'GP rod', 2: \"GN 'rod'\"}", "imgsz": "[32, 32]"}
    logits, logits_b = np.array([[1.0, 0.0, -1.0]]), np.array([[-6.0, 3.0, 0.0]])
    answer("softmax", logits, logits_b, classes, shape=("batch", 3, 32, 32), tail="scores")
    answer("logits", logits, logits_b, classes, shape=("batch", 3, 32, 32))
    answer("wrong_rank", np.zeros((1, 6, 2, 2)), np.zeros((1, 6, 2, 2)), YOLO_META, prologue=[], shape=(1, 3, 32, 32),
           out=(1, 6, 2, 2))
    answer("channels_last", v8, v8_b, YOLO_META, shape=(1, 32, 32, 3))
    answer("nan", v8, v8_b, YOLO_META, source="poison", prologue=[
        helper.make_node("Mul", ["images", "zero"], ["zeroed"]), helper.make_node("Div", ["zeroed", "zero"], ["poison"])],
        inits=[initializer("zero", np.float32(0))])
    write("zero_outputs", [helper.make_node("Identity", ["images"], ["unused"])], [],
          [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 32, 32))], [], YOLO_META)
    write("uint8_input", [helper.make_node("Cast", ["images"], ["output"], to=TensorProto.FLOAT)], [],
          [helper.make_tensor_value_info("images", TensorProto.UINT8, (1, 3, 32, 32))],
          [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 3, 32, 32))], YOLO_META)
    write("two_inputs", [helper.make_node("Add", ["images", "more"], ["output"])], [],
          [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 32, 32)) for n in ("images", "more")],
          [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 3, 32, 32))], YOLO_META)
    with open(os.path.join(HERE, "yolov8.onnx"), "rb") as file:
        whole = file.read()
    with open(os.path.join(HERE, "truncated.onnx"), "wb") as file:
        file.write(whole[: len(whole) // 2])
    with open(os.path.join(HERE, "garbage.onnx"), "wb") as file:
        file.write(b"this is not a model\n")


if __name__ == "__main__":
    main()
