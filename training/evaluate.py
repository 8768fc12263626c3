"""Average precision, operating points and bootstrap intervals.

Standard library only, so that its test runs anywhere and anyone can read how a
figure in a model card came about.

An image is (truths, ignores, findings):
  truths    [(class, (x1, y1, x2, y2))]
  ignores   [(x1, y1, x2, y2)]   regions where nothing is known
  findings  [(class, score, (x1, y1, x2, y2))]
"""
from __future__ import annotations

import random
from typing import Sequence

Box = Sequence[float]
Marks = list[tuple[float, bool]]          # (score, hit) of the counted findings of one class in one image


def area(b: Box) -> float:
    return max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1])


def intersection(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def iou(a: Box, b: Box) -> float:
    inter = intersection(a, b)
    union = area(a) + area(b) - inter
    return inter / union if union > 0 else 0.0


def match(image: tuple, label: int, threshold: float) -> tuple[Marks, int]:
    """Greedy matching of one class in one image, best score first.

    A finding takes the free truth that it overlaps most, if by the threshold.
    One without a truth that lies at least half within an ignore region counts
    neither for nor against the model.
    """
    truths, ignores, findings = image
    boxes = [b for c, b in truths if c == label]
    free = [True] * len(boxes)
    marks: Marks = []
    # sorted() is stable: equal scores keep the order in which they were given
    for _, score, box in sorted((f for f in findings if f[0] == label), key=lambda f: -f[1]):
        best, where = threshold, -1
        for i, truth in enumerate(boxes):
            if free[i]:
                value = iou(box, truth)
                if value >= best:
                    best, where = value, i
        if where >= 0:
            free[where] = False
            marks.append((score, True))
        elif not any(intersection(box, r) >= 0.5 * area(box) > 0 for r in ignores):
            marks.append((score, False))
    return marks, len(boxes)


def curve(marks: Marks, truths: int) -> list[tuple[float, float, float]]:
    """(threshold, recall, precision) at every distinct score: ties stand or fall together."""
    out = []
    hits = 0
    ordered = sorted(marks, key=lambda m: -m[0])
    for i, (score, hit) in enumerate(ordered):
        hits += hit
        if i + 1 == len(ordered) or ordered[i + 1][0] != score:
            out.append((score, hits / truths if truths else 0.0, hits / (i + 1)))
    return out


def average_precision(marks: Marks, truths: int) -> float | None:
    """101-point interpolated AP; None when there is nothing to find."""
    if truths == 0:
        return None
    points = curve(marks, truths)
    best = 0.0
    envelope: list[tuple[float, float]] = []
    for _, recall, precision in reversed(points):
        best = max(best, precision)
        envelope.append((recall, best))
    envelope.reverse()
    total, at = 0.0, 0
    for step in range(101):
        while at < len(envelope) and envelope[at][0] < step / 100 - 1e-12:
            at += 1
        if at == len(envelope):
            break
        total += envelope[at][1]
    return total / 101


def mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else 0.0


def pooled(per_image: Sequence[tuple[Marks, int]]) -> tuple[Marks, int]:
    return [m for marks, _ in per_image for m in marks], sum(n for _, n in per_image)


def evaluate(images: Sequence[tuple], classes: int, strict: bool = True) -> dict:
    """AP50 per class, mAP50 and, if strict, mAP50-95 over ten thresholds."""
    ap50 = [average_precision(*pooled([match(im, c, 0.5) for im in images])) for c in range(classes)]
    out = {"ap50": ap50, "map50": mean(ap50)}
    if strict:
        rest = [mean([average_precision(*pooled([match(im, c, t / 100) for im in images])) for c in range(classes)])
                for t in range(55, 100, 5)]
        out["map50_95"] = (out["map50"] + sum(rest)) / 10
    return out


def operating_point(marks: Marks, truths: int) -> dict:
    """The threshold with the highest F1; the lower threshold on a tie.

    It is laid halfway to the next lower score, so that no finding it was
    chosen for sits on the threshold itself.
    """
    best = {"threshold": 0.5, "sensitivity": 0.0, "precision": 0.0, "f1": 0.0}
    points = curve(marks, truths)
    for i, (score, recall, precision) in enumerate(points):
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        if f1 >= best["f1"] and f1 > 0:
            below = points[i + 1][0] if i + 1 < len(points) else score
            best = {"threshold": (score + below) / 2, "sensitivity": recall, "precision": precision, "f1": f1}
    return best


def percentile(values: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def bootstrap(images: Sequence[tuple], classes: int, resamples: int = 500, seed: int = 1) -> dict:
    """95 % intervals of mAP50 and of each AP50, resampling whole images."""
    matched = [[match(im, c, 0.5) for im in images] for c in range(classes)]
    rng = random.Random(seed)
    means, each = [], [[] for _ in range(classes)]
    for _ in range(resamples):
        pick = [rng.randrange(len(images)) for _ in images]
        aps = [average_precision(*pooled([matched[c][i] for i in pick])) for c in range(classes)]
        means.append(mean(aps))
        for c, ap in enumerate(aps):
            if ap is not None:
                each[c].append(ap)
    span = lambda v: (percentile(v, 0.025), percentile(v, 0.975)) if v else (0.0, 0.0)
    return {"map50": span(means), "ap50": [span(v) for v in each]}


def share_interval(hits: Sequence[bool], resamples: int = 1000, seed: int = 1) -> tuple[float, float]:
    """95 % bootstrap interval of a share, for classifiers."""
    rng = random.Random(seed)
    n = len(hits)
    draws = [sum(hits[rng.randrange(n)] for _ in range(n)) / n for _ in range(resamples)]
    return percentile(draws, 0.025), percentile(draws, 0.975)
