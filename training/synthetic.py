"""Procedural drawings that look enough like the real thing to exercise the plumbing.

No pixel is taken from any data set: discs, rings, rods and blotches on a
background of smooth noise, all from a seed. They prove nothing about accuracy.
"""
from __future__ import annotations

import argparse
import os

import cv2
import numpy as np

URINE_SIZE = (1280, 720)
GRAM_SIZE = (500, 500)


def noise(h: int, w: int, grain: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in -1..1 with features of about `grain` pixels."""
    field = rng.normal(size=(h // grain + 3, w // grain + 3)).astype(np.float32)
    big = cv2.resize(field, (w + 2 * grain, h + 2 * grain), interpolation=cv2.INTER_CUBIC)[grain:grain + h, grain:grain + w]
    return np.clip(big / 2.0, -1, 1)


def distance_grid(h: int, w: int, cx: float, cy: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return x - cx, y - cy


def soft(d: np.ndarray, edge: float) -> np.ndarray:
    """1 inside a signed distance, 0 outside, with a soft edge."""
    return np.clip(0.5 - d / (2 * edge), 0, 1)


def add(image: np.ndarray, cx: float, cy: float, reach: float, draw) -> None:
    """Apply a drawing function to the part of the image around a centre."""
    h, w = image.shape[:2]
    x1, y1 = max(0, int(cx - reach)), max(0, int(cy - reach))
    x2, y2 = min(w, int(cx + reach) + 1), min(h, int(cy + reach) + 1)
    if x2 > x1 and y2 > y1:
        dx, dy = distance_grid(y2 - y1, x2 - x1, cx - x1, cy - y1)
        image[y1:y2, x1:x2] = draw(image[y1:y2, x1:x2], dx, dy)


def urine_red(image: np.ndarray, cx: float, cy: float, rng: np.random.Generator) -> None:
    """A small disc with a dark rim and a pale middle."""
    r, squash, turn = rng.uniform(17, 21), rng.uniform(0.85, 1.0), rng.uniform(0, np.pi)

    def draw(part, dx, dy):
        u = dx * np.cos(turn) + dy * np.sin(turn)
        v = (-dx * np.sin(turn) + dy * np.cos(turn)) / squash
        d = np.hypot(u, v)
        rim = np.exp(-((d - r * 0.86) / 2.6) ** 2)
        halo = np.exp(-((d - r * 1.12) / 2.0) ** 2)
        middle = soft(d - r * 0.7, 3.0)
        return part + (-46 * rim + 12 * halo - 10 * middle)[..., None]

    add(image, cx, cy, r * 1.6, draw)


def urine_white(image: np.ndarray, cx: float, cy: float, rng: np.random.Generator) -> None:
    """A larger granular disc with a thin rim."""
    r = rng.uniform(24, 29)
    lumps = noise(100, 100, 5, rng)

    def draw(part, dx, dy):
        d = np.hypot(dx, dy)
        rim = np.exp(-((d - r * 0.92) / 1.8) ** 2)
        halo = np.exp(-((d - r * 1.06) / 2.0) ** 2)
        inside = soft(d - r * 0.85, 3.0)
        grain = lumps[:part.shape[0], :part.shape[1]]
        return part + (-34 * rim + 14 * halo + inside * (24 * grain - 8))[..., None]

    add(image, cx, cy, r * 1.6, draw)


def urine_epithelial(image: np.ndarray, cx: float, cy: float, rng: np.random.Generator) -> None:
    """A large flat polygon with a thin outline, sparse granules and a nucleus."""
    r = rng.uniform(85, 120)
    corner = rng.uniform(0.85, 1.12, 7)
    grain = noise(400, 400, 4, rng)

    def draw(part, dx, dy):
        angle = (np.arctan2(dy, dx) / (2 * np.pi) % 1.0) * 7
        low = angle.astype(int) % 7
        edge = r * (corner[low] * (1 - angle % 1) + corner[(low + 1) % 7] * (angle % 1))
        d = np.hypot(dx, dy)
        outline = np.exp(-((d - edge) / 2.0) ** 2)
        inside = soft(d - edge, 2.0)
        nucleus = np.hypot(dx - r * 0.1, dy)
        ring = np.exp(-((nucleus - 17) / 2.2) ** 2)
        core = soft(nucleus - 15, 2.0)
        speckle = grain[:part.shape[0], :part.shape[1]]
        return part + (-22 * outline + inside * (6 * speckle - 4) - 30 * ring - 14 * core * (1 + speckle))[..., None]

    add(image, cx, cy, r * 1.4, draw)


def scatter(rng: np.random.Generator, n: int, w: int, h: int, margin: float, apart: float,
            taken: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Centres that keep their distance from one another."""
    out = []
    for _ in range(400):
        if len(out) == n:
            break
        p = (float(rng.uniform(margin, w - margin)), float(rng.uniform(margin, h - margin)))
        if all(np.hypot(p[0] - q[0], p[1] - q[1]) > apart for q in taken):
            taken.append(p)
            out.append(p)
    return out


def urine(seed: int, red: int, white: int, epithelial: int) -> np.ndarray:
    """A urine-like field, RGB."""
    rng = np.random.default_rng(seed)
    w, h = URINE_SIZE
    base = np.array([126, 121, 124], np.float32)
    dx, dy = distance_grid(h, w, w * 0.45, h * 0.5)
    image = base - (np.hypot(dx, dy) / w * 26)[..., None] + (noise(h, w, 160, rng) * 5)[..., None]
    taken: list[tuple[float, float]] = []
    for p in scatter(rng, epithelial, w, h, 140, 260, taken):
        urine_epithelial(image, *p, rng)
    for p in scatter(rng, white, w, h, 60, 130, taken):
        urine_white(image, *p, rng)
    for p in scatter(rng, red, w, h, 50, 90, taken):
        urine_red(image, *p, rng)
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    image += rng.normal(0, 1.6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def capsule(image: np.ndarray, cx: float, cy: float, turn: float, length: float, r: float,
            ink: np.ndarray, strength: float, texture: np.ndarray) -> None:
    """A rod with round ends; a disc when its length is zero."""

    def draw(part, dx, dy):
        u = dx * np.cos(turn) + dy * np.sin(turn)
        v = -dx * np.sin(turn) + dy * np.cos(turn)
        d = np.hypot(np.maximum(np.abs(u) - length / 2, 0), v)
        body = (soft(d - r, 2.2) * strength)[..., None]
        halo = np.exp(-((d - r * 1.25) / 3.0) ** 2)[..., None]
        grain = texture[:part.shape[0], :part.shape[1], None]
        return (part + 8 * halo) * (1 - body) + (ink + 10 * grain) * body

    add(image, cx, cy, length / 2 + r * 2, draw)


def gram(seed: int, kind: str) -> np.ndarray:
    """A Gram-like field, RGB: `cocci`, `rods` (violet), `red-rods` or `empty`."""
    rng = np.random.default_rng(seed)
    w, h = GRAM_SIZE
    image = np.empty((h, w, 3), np.float32)
    image[:] = (158, 142, 168) if kind != "rods" else (176, 146, 150)
    image += (noise(h, w, 120, rng) * 9)[..., None] + noise(h, w, 14, rng)[..., None] * np.array([3, 4, 3], np.float32)
    image += np.maximum(noise(h, w, 90, rng) - 0.35, 0)[..., None] * np.array([34, -26, -8], np.float32)
    texture = noise(220, 220, 9, rng)
    violet, red = np.array([30, 22, 62], np.float32), np.array([172, 84, 116], np.float32)
    taken: list[tuple[float, float]] = []
    if kind == "cocci":
        for x, y in scatter(rng, 6, w, h, 60, 110, taken):
            for k in range(int(rng.integers(3, 7))):
                capsule(image, x, y, 0.0, 0.0, rng.uniform(16, 19), violet, 0.97, texture)
                step = rng.uniform(0, 2 * np.pi)
                x, y = x + 35 * np.cos(step), y + 35 * np.sin(step)
    elif kind == "rods":
        for x, y in scatter(rng, 7, w, h, 70, 130, taken):
            capsule(image, x, y, rng.uniform(0, np.pi), rng.uniform(70, 100), rng.uniform(15, 18), violet, 0.96, texture)
    elif kind == "red-rods":
        for x, y in scatter(rng, 16, w, h, 40, 78, taken):
            capsule(image, x, y, rng.uniform(0, np.pi), rng.uniform(38, 60), rng.uniform(10, 13), red, 0.8, texture)
    image = cv2.GaussianBlur(image, (0, 0), 1.4)
    image += cv2.GaussianBlur(rng.normal(0, 3.2, image.shape), (0, 0), 0.9)
    return np.clip(image, 0, 255).astype(np.uint8)


URINE_FIELDS = {"field-1": (11, 9, 5, 2), "field-2": (12, 22, 3, 0), "field-3": (13, 4, 11, 3), "field-4": (14, 0, 0, 1)}
GRAM_FIELDS = {"cocci": (21, "cocci"), "rods-violet": (22, "rods"), "rods-red": (23, "red-rods")}


def write_jpeg(path: str, image: np.ndarray) -> None:
    cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the synthetic example images.")
    parser.add_argument("out", help="folder that holds urine-sediment/ and gram-stain/")
    out = parser.parse_args().out
    for folder in ("urine-sediment", "gram-stain"):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
    for name, (seed, red, white, epithelial) in URINE_FIELDS.items():
        write_jpeg(os.path.join(out, "urine-sediment", name + ".jpg"), urine(seed, red, white, epithelial))
    for name, (seed, kind) in GRAM_FIELDS.items():
        write_jpeg(os.path.join(out, "gram-stain", name + ".jpg"), gram(seed, kind))


if __name__ == "__main__":
    main()
