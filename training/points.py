"""Boxes for cells that were clicked but never boxed.

A third of the urine set is annotated by points. Once the network finds cells
by itself, its own box around a point is a far better target than silence: the
annotator vouches for the cell and its class, the network only for its outline.
"""
from __future__ import annotations

import numpy as np

from data import Sample
from evaluate import iou
from predict import run

LOWEST = 0.15       # least score for a box to be adopted
CENTRAL = 0.35      # the point has to lie within this share of the box's size from its centre


def propose(model, samples: list[Sample], config: dict, before: list[dict]) -> list[dict]:
    """The best box for each point that has none yet, in pixels of the sample's image."""
    done = {(item["name"], item["point"]) for item in before}
    pointed = [s for s in samples if len(s.points)]
    adopted = []
    for sample, (_, _, found) in zip(pointed, run(model, pointed, config, LOWEST)):
        taken = [(int(c), tuple(b)) for c, b in zip(sample.labels, sample.original_boxes())]
        for i, (x, y, c) in enumerate(sample.points):
            if (sample.name, i) in done:
                continue
            x, y, c = x / sample.shrink, y / sample.shrink, int(c)
            for label, _, box in found:            # best score first
                w, h = box[2] - box[0], box[3] - box[1]
                central = (abs(x - (box[0] + box[2]) / 2) <= CENTRAL * w and abs(y - (box[1] + box[3]) / 2) <= CENTRAL * h)
                if label == c and central and all(k != c or iou(box, t) < 0.5 for k, t in taken):
                    taken.append((c, box))
                    adopted.append({"name": sample.name, "point": i, "label": c, "box": [v * sample.shrink for v in box]})
                    break
    return adopted


def adopt(samples: list[Sample], adopted: list[dict]) -> None:
    """Add adopted boxes and lift the silence around their points."""
    by_name = {s.name: s for s in samples}
    for item in adopted:
        s = by_name[item["name"]]
        x, y, c = s.points[item["point"]]
        centre = (s.ignore[:, :2] + s.ignore[:, 2:4]) / 2
        around = (np.abs(centre - [x, y]).max(1) < 0.01) & (s.ignore[:, 4] == c)
        s.ignore = s.ignore[~around]
        s.boxes = np.concatenate([s.boxes, np.array([item["box"]], np.float32)])
        s.labels = np.concatenate([s.labels, np.array([item["label"]], np.int64)])
