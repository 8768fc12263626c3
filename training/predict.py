"""From network output to findings: thresholding and class-aware suppression."""
from __future__ import annotations

import numpy as np
import torch

from data import Sample
from preprocess import Fit, letterbox


def to_tensor(images: list[np.ndarray]) -> torch.Tensor:
    """RGB bytes to [batch,3,H,W] in 0..1."""
    x = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))).float()
    return x.mul_(1 / 255).contiguous(memory_format=torch.channels_last)


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Indices kept by greedy non-maximum suppression, best first."""
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep: list[int] = []
    while len(order):
        i, order = order[0], order[1:]
        keep.append(int(i))
        lo, hi = np.maximum(boxes[i, :2], boxes[order, :2]), np.minimum(boxes[i, 2:], boxes[order, 2:])
        inter = np.maximum(hi - lo, 0).prod(1)
        order = order[inter / (area[i] + area[order] - inter + 1e-9) <= limit]
    return keep


def findings(output: np.ndarray, place: Fit, w: int, h: int, thresholds: list[float], iou: float, most: int,
             several: bool = False) -> list:
    """[(class, score, (x1,y1,x2,y2))] in source pixels from one decoded output [4+classes, anchors].

    As in the server, an anchor speaks for its best class only, unless `several`.
    """
    found = []
    best = output[4:].argmax(0)
    for c, threshold in enumerate(thresholds):
        scores = output[4 + c]
        index = np.nonzero((scores >= threshold) & ((best == c) | several))[0]
        if len(index) > 1000:
            index = index[np.argsort(-scores[index], kind="stable")[:1000]]
        cx, cy, bw, bh = output[:4, index]
        boxes = np.stack([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2], 1)
        for i in suppress(boxes, scores[index], iou):
            x1, y1, x2, y2 = (boxes[i] - [place.left, place.top, place.left, place.top]) / place.ratio
            box = (float(max(0, x1)), float(max(0, y1)), float(min(w, x2)), float(min(h, y2)))
            found.append((c, float(scores[index][i]), box))
    found.sort(key=lambda f: -f[1])
    return found[:most]


@torch.no_grad()
def run(model, samples: list[Sample], config: dict, threshold: float = 0.01) -> list[tuple]:
    """Evaluation records of the samples, through the preprocessing contract."""
    model.eval()
    model.decode = True
    side, records = config["input"], []
    for start in range(0, len(samples), 8):
        part = samples[start:start + 8]
        laid = [letterbox(s.image, s.width, s.height, side, side) for s in part]
        out = model(to_tensor([image for image, _ in laid])).numpy()
        for s, (_, place), o in zip(part, laid, out):
            found = findings(o, place, s.width, s.height, [threshold] * len(config["labels"]),
                             config["nms_iou"], config["max_detections"])
            truth = [(int(c), tuple(map(float, b))) for c, b in zip(s.labels, s.original_boxes())]
            ignore = [tuple(map(float, r[:4] / s.shrink)) for r in s.ignore if r[4] < 0]
            records.append((truth, ignore, found))
    model.decode = False
    return records
