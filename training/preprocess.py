"""The preprocessing contract shared with the server.

What the network sees in training and in evaluation has to be what the Go code
feeds it, to the pixel where that is possible. Every number here is part of
that contract; change both sides together or not at all.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import cv2
import numpy as np

MASK64 = (1 << 64) - 1
PAD_GREY = 114
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


@dataclass(frozen=True)
class Fit:
    """How a source image was laid into the input, to map boxes back."""

    ratio: float
    left: int
    top: int
    width: int
    height: int


def reduction(w: int, h: int, target_w: int, target_h: int) -> int:
    """Largest k of 1, 2, 4, 8 by which the source may shrink before resizing."""
    ratio = max(w / target_w, h / target_h)
    for k in (8, 4, 2):
        if ratio >= 2 and k <= ratio:
            return k
    return 1


def box_average(image: np.ndarray, k: int) -> np.ndarray:
    """k by k box mean for formats without a scaled decode; a ragged edge is averaged over what is there."""
    if k == 1:
        return image
    h, w = image.shape[:2]
    edge = cv2.copyMakeBorder(image, 0, -h % k, 0, -w % k, cv2.BORDER_REPLICATE)
    tall, wide = edge.shape[0] // k, edge.shape[1] // k
    mean = edge.reshape(tall, k, wide, k, 3).astype(np.uint32).sum(axis=(1, 3))
    return ((mean + k * k // 2) // (k * k)).astype(np.uint8)


def read_reduced(path: str, k: int) -> np.ndarray:
    """Read an image as RGB at 1/k of its size, EXIF orientation applied by the decoder."""
    if k == 1 or path.lower().endswith((".jpg", ".jpeg")):
        bgr = cv2.imread(path, _REDUCED[k])
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return box_average(cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), k)


def fit(w: int, h: int, target_w: int, target_h: int) -> Fit:
    """Letterbox geometry for an original of w by h."""
    ratio = min(target_w / w, target_h / h)
    new_w, new_h = max(1, round(w * ratio)), max(1, round(h * ratio))
    left = round((target_w - new_w) / 2 - 0.1)
    top = round((target_h - new_h) / 2 - 0.1)
    return Fit(ratio, left, top, new_w, new_h)


def letterbox(image: np.ndarray, w: int, h: int, target_w: int, target_h: int) -> tuple[np.ndarray, Fit]:
    """Lay a (possibly reduced) RGB image of original size w by h into the grey input."""
    place = fit(w, h, target_w, target_h)
    small = image
    if (image.shape[1], image.shape[0]) != (place.width, place.height):
        small = cv2.resize(image, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    out = np.full((target_h, target_w, 3), PAD_GREY, np.uint8)
    out[place.top:place.top + place.height, place.left:place.left + place.width] = small
    return out, place


def load_letterboxed(path: str, target_w: int, target_h: int) -> tuple[np.ndarray, Fit]:
    """The whole contract for one file."""
    whole = cv2.imread(path, cv2.IMREAD_COLOR)
    h, w = whole.shape[:2]
    return letterbox(read_reduced(path, reduction(w, h, target_w, target_h)), w, h, target_w, target_h)


def splitmix64(seed: int) -> Iterator[int]:
    """The generator both sides use for crop positions: tiny, and the same in every language."""
    state = seed & MASK64
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        yield z ^ (z >> 31)


def vote_crops(image: np.ndarray, crop_px: int, crops: int, seed: int, side: int) -> np.ndarray:
    """The crops that a crop-vote package classifies, as [crops, side, side, 3] RGB bytes."""
    h, w = image.shape[:2]
    s = min(crop_px, w, h)
    numbers = splitmix64(seed)
    out = np.empty((crops, side, side, 3), np.uint8)
    for i in range(crops):
        x = next(numbers) % (w - s + 1)
        y = next(numbers) % (h - s + 1)
        out[i] = cv2.resize(image[y:y + s, x:x + s], (side, side), interpolation=cv2.INTER_LINEAR)
    return out
