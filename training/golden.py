"""The golden image of a package and what the model says about it.

Chosen so that nothing lies near a threshold: a small numeric difference
between two runtimes must not turn one answer into another.
"""
from __future__ import annotations

import numpy as np
import torch

import synthetic
from gram import crops_tensor, tally
from predict import findings
from preprocess import box_average, letterbox, reduction, vote_crops
from runtime import Exported, run_onnx


def infer(config: dict, made: dict, path: str, ort: str, x: np.ndarray) -> np.ndarray:
    """The exported graph under ONNX Runtime when there is one, otherwise the same weights in torch."""
    tensor = crops_tensor(x)
    if ort:
        return run_onnx(path, tensor.numpy(), ort)[0]
    model = made["model"].eval()
    if config["task"] == "detect":
        model = Exported(model, config["input"]).eval()
    else:
        model.decode = True
    with torch.no_grad():
        out = model(tensor).numpy()
    made["model"].decode = False
    return out


def detect(config: dict, made: dict, path: str, ort: str, image: np.ndarray) -> tuple[list, float]:
    """Findings at the operating points in a lossless image, and how far the closest call was.

    The distance counts scores near a threshold, and pairs of one class whose
    overlap is near the suppression limit or which tie for the lead.
    """
    h, w = image.shape[:2]
    side = config["input"]
    small = box_average(image, reduction(w, h, side, side))
    laid, place = letterbox(small, w, h, side, side)
    out = infer(config, made, path, ort, laid[None])[0]
    thresholds = [p["threshold"] for p in made["points"]]
    found = findings(out, place, w, h, thresholds, config["nms_iou"], config["max_detections"])
    every = findings(out, place, w, h, thresholds, config["nms_iou"], config["max_detections"], several=True)
    margin = 1.0 if len(every) == len(found) else 0.01      # two classes at one place are a close call
    for c, t in enumerate(thresholds):
        near = findings(out, place, w, h, [t * 0.5 if k == c else 2.0 for k in range(len(thresholds))], config["nms_iou"], 1000)
        margin = min([margin] + [abs(f[1] - t) for f in near])
        for limit in (config["nms_iou"] - 0.05, config["nms_iou"] + 0.05):
            other = findings(out, place, w, h, [t if k == c else 2.0 for k in range(len(thresholds))], limit, 1000)
            if len(other) != sum(f[0] == c for f in found):
                margin = min(margin, 0.01)
    return found, margin


def detector_golden(config: dict, made: dict, path: str, ort: str) -> tuple[np.ndarray, dict]:
    """A validation photograph where the licence allows it, otherwise the best of some drawings."""
    if config["data"] == "blood":
        import cv2
        candidates = [cv2.cvtColor(cv2.imread(s.path), cv2.COLOR_BGR2RGB) for s in made["val"]]
    else:
        candidates = [synthetic.urine(seed, 6, 4, 2) for seed in range(100, 160)]
    best = None
    for image in candidates:
        found, margin = detect(config, made, path, "", image)
        kinds = len({f[0] for f in found})
        rank = (len(found) >= 2, min(margin, 0.06) + 0.02 * kinds, margin)
        if best is None or rank > best[0]:
            best = (rank, image)
    image = best[1]
    found, margin = detect(config, made, path, ort, image)
    print(f"golden: {len(found)} findings, margin {margin:.3f}", flush=True)
    items = [{"label": config["labels"][c], "confidence": round(s, 4),
              "box": [round(b[0], 2), round(b[1], 2), round(b[2] - b[0], 2), round(b[3] - b[1], 2)]} for c, s, b in found]
    return image, {"findings": items}


def vote_golden(config: dict, made: dict, path: str, ort: str) -> tuple[np.ndarray, dict]:
    """The drawing whose crops are furthest from abstaining or changing sides."""
    best = None
    for kind in ("cocci", "rods", "red-rods"):
        for seed in range(200, 212):
            image = synthetic.gram(seed, kind)
            crops = vote_crops(image, config["crop_px"], config["crops"], config["vote_seed"], config["input"])
            p = infer(config, made, path, "", crops)
            result = tally(p, config)
            top = np.sort(p, 1)
            margin = float(min(np.abs(top[:, -1] - config["vote_threshold"]).min(), (top[:, -1] - top[:, -2]).min()))
            clear = result["label"] != config["background"] and result["confidence"] >= 0.75
            if best is None or (clear, margin) > best[0]:
                best = ((clear, margin), image, crops)
    _, image, crops = best
    result = tally(infer(config, made, path, ort, crops), config)
    print(f"golden: {result}, margin {best[0][1]:.3f}", flush=True)
    return image, {"label": result["label"], "confidence": round(result["confidence"], 4), "votes": result["votes"]}


def make(config: dict, made: dict, path: str, ort: str) -> tuple[np.ndarray, dict]:
    return (detector_golden if config["task"] == "detect" else vote_golden)(config, made, path, ort)


def summary(expected: dict) -> str:
    if "findings" in expected:
        return f"{len(expected['findings'])} findings"
    return f"{expected['label']} {expected['confidence']}"
