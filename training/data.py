"""Reading the three data sets into one shape.

The traps of the sources are dealt with here and nowhere else: zero-size boxes,
clicked points without a box, regions declared as unlabelled, and aggregates
that repeat images of a validation split.
"""
from __future__ import annotations

import csv
import hashlib
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import cv2
import numpy as np

from preprocess import read_reduced, reduction

URINE_CLASS = {"rbc": 0, "pus": 1, "ep": 2}
# A clicked cell without a box: its surroundings are left out of the loss for
# that class, half a typical cell to each side.
URINE_POINT_HALF = {"rbc": 20.0, "pus": 28.0, "ep": 100.0}


@dataclass
class Sample:
    """One image with boxes in the pixels of `image`, which may be a reduced decode."""

    name: str
    path: str
    source: str
    image: np.ndarray                    # RGB bytes
    width: int                           # original size
    height: int
    shrink: float                        # pixels of `image` per original pixel
    base: float                          # factor that brings `image` to its usual training size
    boxes: np.ndarray                    # [n,4] x1 y1 x2 y2
    labels: np.ndarray                   # [n]
    ignore: np.ndarray = field(default_factory=lambda: np.zeros((0, 5), np.float32))  # x1 y1 x2 y2 class or -1
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))  # x y class

    def original_boxes(self) -> np.ndarray:
        return self.boxes / self.shrink


def root() -> str:
    """The data folder, told by the environment so that no path is written into code."""
    folder = os.environ.get("KENKYO_DATA", "")
    if not folder:
        raise SystemExit("set KENKYO_DATA to the data folder")
    return folder


def _sample(path: str, source: str, w: int, h: int, k: int, base: float,
            boxes: list, labels: list, ignore: list | None = None, points: list | None = None) -> Sample:
    s = 1.0 / k
    ig = np.array(ignore or [], np.float32).reshape(-1, 5)
    ig[:, :4] *= s
    pt = np.array(points or [], np.float32).reshape(-1, 3)
    pt[:, :2] *= s
    return Sample(os.path.splitext(os.path.basename(path))[0], path, source, read_reduced(path, k), w, h, s, base,
                  np.array(boxes, np.float32).reshape(-1, 4) * s, np.array(labels, np.int64), ig, pt)


def load_bccd(split: str, side: int) -> list[Sample]:
    """BCCD; the two boxes without a size are dropped."""
    folder = os.path.join(root(), "blood", "bccd")
    names = open(os.path.join(folder, split + ".txt"), encoding="utf-8").read().split()
    out = []
    for name in sorted(names):
        boxes, labels = [], []
        tree = ET.parse(os.path.join(folder, "Annotations", name + ".xml")).getroot()
        w, h = int(tree.findtext("size/width")), int(tree.findtext("size/height"))
        for item in tree.iter("object"):
            x1, y1, x2, y2 = (float(item.findtext("bndbox/" + key)) for key in ("xmin", "ymin", "xmax", "ymax"))
            if x2 - x1 < 1 or y2 - y1 < 1:
                continue
            boxes.append((x1, y1, x2, y2))
            labels.append(("RBC", "WBC", "Platelets").index(item.findtext("name")))
        k = reduction(w, h, side, side)
        out.append(_sample(os.path.join(folder, "JPEGImages", name + ".jpg"), "bccd", w, h, k,
                           k * min(side / w, side / h), boxes, labels))
    return out


def load_txl(side: int) -> list[Sample]:
    """TXL-PBC, both of its splits; scaled so that its red cells are as large as those of BCCD."""
    folder = os.path.join(root(), "blood", "txl_pbc")
    out = []
    for split in ("train", "val"):
        for file in sorted(os.listdir(os.path.join(folder, "images", split))):
            path = os.path.join(folder, "images", split, file)
            label = os.path.join(folder, "labels", split, os.path.splitext(file)[0] + ".txt")
            h, w = cv2.imread(path, cv2.IMREAD_COLOR).shape[:2]
            boxes, labels = [], []
            for line in open(label, encoding="utf-8"):
                c, x, y, bw, bh = (float(v) for v in line.split()[:5])
                if bw * w < 2 or bh * h < 2:
                    continue
                boxes.append(((x - bw / 2) * w, (y - bh / 2) * h, (x + bw / 2) * w, (y + bh / 2) * h))
                labels.append((1, 0, 2)[int(c)])
            # red cells: 109 px in BCCD, 142 px in the 575 px images, 81 px in the rest
            scale = (109.0 / 142.0 if w > 500 else 109.0 / 81.0) * side / 640.0
            k = 2 if scale <= 0.5 else 1
            out.append(_sample(path, "txl", w, h, k, k * scale, boxes, labels))
    return out


def fingerprint(image: np.ndarray) -> list[np.ndarray]:
    """Normalised 24x24 grey thumbnails in the eight orientations, to find repeats however turned."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    out = []
    for mirrored in (grey, grey[:, ::-1]):
        for turn in range(4):
            v = np.rot90(mirrored, turn).ravel().astype(np.float32)
            v = v - v.mean()
            out.append(v / (np.linalg.norm(v) + 1e-6))
    return out


def drop_repeats(train: list[Sample], val: list[Sample], limit: float = 0.96) -> tuple[list[Sample], list[str]]:
    """Leave out of training whatever looks like a validation image in any orientation."""
    table = np.stack([v for s in val for v in fingerprint(s.image)])
    kept, dropped = [], []
    for s in train:
        score = float((table @ fingerprint(s.image)[0]).max())
        if score < limit:
            kept.append(s)
        else:
            dropped.append(f"{s.source}:{s.name}:{score:.3f}")
    return kept, dropped


def load_umid(split: str, side: int) -> list[Sample]:
    """UMID; `missedlabel` becomes ignore, clicked points become class-wise ignore."""
    folder = os.path.join(root(), "urine", "umid")
    rows: dict[str, list] = {}
    with open(os.path.join(folder, split + ".csv"), encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["image"], []).append(row)
    out = []
    for image in sorted(rows):
        path = os.path.join(folder, "images", image)
        h, w = cv2.imread(path, cv2.IMREAD_COLOR).shape[:2]
        boxes, labels, ignore, points = [], [], [], []
        for row in rows[image]:
            x1, y1, x2, y2 = (float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            kind = row["label"]
            if kind == "missedlabel":
                ignore.append((x1, y1, x2, y2, -1))
            elif kind.startswith("point-"):
                c = kind[len("point-"):]
                x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, URINE_POINT_HALF[c]
                ignore.append((x - half, y - half, x + half, y + half, URINE_CLASS[c]))
                points.append((x, y, URINE_CLASS[c]))
            elif (x2 - x1) * (y2 - y1) > 1:
                boxes.append((x1, y1, x2, y2))
                labels.append(URINE_CLASS[kind])
        k = reduction(w, h, side, side)
        out.append(_sample(path, "umid", w, h, k, k * min(side / w, side / h), boxes, labels, ignore, points))
    return out


def load_detection(kind: str, side: int) -> tuple[list[Sample], list[Sample], list[str]]:
    """Train and validation samples of a detector, with the names dropped as repeats."""
    if kind == "blood":
        val = load_bccd("val", side)
        train, dropped = drop_repeats(load_bccd("train", side) + load_txl(side), val)
        return train, val, dropped
    if kind == "urine":
        val = load_umid("val", side)
        train, dropped = drop_repeats(load_umid("train", side), val, 0.995)
        return train, val, dropped
    raise ValueError(kind)


def digest(paths: list[str]) -> str:
    """One digest over the sorted digests of files: independent of names and order."""
    parts = sorted(hashlib.sha256(open(p, "rb").read()).hexdigest() for p in paths)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
