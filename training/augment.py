"""Augmentation for detectors: mosaics, whole photographs, turns, mirrors and colour.

Smears and sediments have no up or down, so every quarter turn and mirror image
is as plausible as the original; that is most of what is gained here.
"""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data import Sample
from preprocess import PAD_GREY


@dataclass
class Canvas:
    """A training image with what is drawn on it."""

    image: np.ndarray        # RGB bytes
    boxes: np.ndarray        # [n,4]
    labels: np.ndarray       # [n]
    ignore: np.ndarray       # [m,5], last column class or -1


def orient(h: int, w: int, turn: int, mirror: bool) -> tuple[np.ndarray, int, int]:
    """Affine matrix of a mirror followed by quarter turns, with the turned size."""
    m = np.eye(3)
    if mirror:
        m = np.array([[-1, 0, w], [0, 1, 0], [0, 0, 1.0]])
    for _ in range(turn % 4):
        m = np.array([[0, -1, h], [1, 0, 0], [0, 0, 1.0]]) @ m
        h, w = w, h
    return m, h, w


def move_boxes(boxes: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Boxes under a transform of turns, mirrors, scale and shift."""
    if not len(boxes):
        return boxes.reshape(-1, 4)
    p = m[:2, :2] @ boxes.reshape(-1, 2).T + m[:2, 2:3]
    p = p.T.reshape(-1, 2, 2)
    return np.concatenate([p.min(1), p.max(1)], 1).astype(np.float32)


def paint(canvas: Canvas, sample: Sample, window: tuple[int, int, int, int], scale: float,
          rng: np.random.Generator, turns: tuple[int, ...]) -> None:
    """Warp one sample into a window of the canvas and add its boxes, clipped.

    A box that is mostly cut away becomes ignore: whether an annotator would have
    drawn the rest is anyone's guess.
    """
    x1, y1, x2, y2 = window
    ww, wh = x2 - x1, y2 - y1
    if ww < 8 or wh < 8:
        return
    h, w = sample.image.shape[:2]
    m, th, tw = orient(h, w, int(rng.choice(turns)), bool(rng.random() < 0.5))
    m = np.diag([scale, scale, 1.0]) @ m
    # half-pixel centres: shift by (scale-1)/2 keeps the sampling grid that cv2.resize uses
    tw, th = tw * scale, th * scale
    dx = rng.uniform(min(0.0, ww - tw), max(0.0, ww - tw))
    dy = rng.uniform(min(0.0, wh - th), max(0.0, wh - th))
    m = np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]]) @ m
    pixel = m.copy()
    pixel[:2, 2] += m[:2, :2] @ np.array([0.5, 0.5]) - 0.5
    patch = cv2.warpAffine(sample.image, pixel[:2], (ww, wh), flags=cv2.INTER_LINEAR,
                           borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD_GREY,) * 3)
    canvas.image[y1:y2, x1:x2] = patch

    shift = np.array([x1, y1, x1, y1], np.float32)
    lo, hi = np.array([x1, y1] * 2, np.float32), np.array([x2, y2] * 2, np.float32)
    full = move_boxes(sample.boxes, m) + shift
    clipped = np.clip(full, lo, hi)
    if len(full):
        area = (full[:, 2] - full[:, 0]) * (full[:, 3] - full[:, 1])
        seen = np.maximum(clipped[:, 2] - clipped[:, 0], 0) * np.maximum(clipped[:, 3] - clipped[:, 1], 0)
        part = seen / np.maximum(area, 1e-6)
        thin = np.minimum(clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1]) < 4
        keep = (part >= 0.4) & ~thin
        doubt = (part > 0.05) & ~keep
        canvas.boxes = np.concatenate([canvas.boxes, clipped[keep]])
        canvas.labels = np.concatenate([canvas.labels, sample.labels[keep]])
        unsure = np.concatenate([clipped[doubt], np.full((int(doubt.sum()), 1), -1, np.float32)], 1)
        canvas.ignore = np.concatenate([canvas.ignore, unsure])
    if len(sample.ignore):
        region = np.clip(move_boxes(sample.ignore[:, :4], m) + shift, lo, hi)
        canvas.ignore = np.concatenate([canvas.ignore, np.concatenate([region, sample.ignore[:, 4:]], 1)])


def blank(h: int, w: int) -> Canvas:
    return Canvas(np.full((h, w, 3), PAD_GREY, np.uint8), np.zeros((0, 4), np.float32),
                  np.zeros(0, np.int64), np.zeros((0, 5), np.float32))


def mosaic(samples: list[Sample], size: tuple[int, int], scales: tuple[float, float],
           rng: np.random.Generator) -> Canvas:
    """Four samples around a random centre."""
    h, w = size
    canvas = blank(h, w)
    cx, cy = int(rng.uniform(0.25, 0.75) * w), int(rng.uniform(0.25, 0.75) * h)
    windows = ((0, 0, cx, cy), (cx, 0, w, cy), (0, cy, cx, h), (cx, cy, w, h))
    for sample, window in zip(samples, windows):
        paint(canvas, sample, window, sample.base * rng.uniform(*scales), rng, (0, 1, 2, 3))
    return canvas


def whole(sample: Sample, size: tuple[int, int], jitter: float, rng: np.random.Generator) -> Canvas:
    """One photograph near its size in use; quarter turns only where it is square."""
    canvas = blank(*size)
    h, w = sample.image.shape[:2]
    turns = (0, 1, 2, 3) if h == w else (0, 2)
    paint(canvas, sample, (0, 0, size[1], size[0]), sample.base * rng.uniform(1 - jitter, 1 + jitter), rng, turns)
    return canvas


def colour(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Stain and lamp: contrast, brightness, saturation and one gain for each channel."""
    if amount <= 0:
        return image
    x = image.astype(np.float32)
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * np.float32(1 + rng.uniform(-2, 2) * amount)
    mean = x.mean((0, 1), keepdims=True)
    x = mean + (x - mean) * np.float32(1 + rng.uniform(-1, 1) * amount)
    gain = (1 + rng.uniform(-1, 1, 3) * amount * 0.5).astype(np.float32)
    x = x * gain + np.float32(rng.uniform(-1, 1) * amount * 100)
    if rng.random() < 0.1:
        x = cv2.GaussianBlur(x, (3, 3), 0)
    return np.clip(x, 0, 255).astype(np.uint8)
