"""Writes letterbox.json: what OpenCV makes of generated images. Needs python3-opencv: python3 letterbox.py

Each case names a source, how it is resized, and the SHA-256 of the resulting 8-bit RGB input. The tests demand equality: the
models were trained on OpenCV's resize.
"""
import hashlib
import json
import os

import cv2
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def source(width, height):
    """A picture that any language computes: byte i is the top byte of a multiplicative hash of i."""
    i = np.arange(width * height * 3, dtype=np.uint64)
    return (((i * np.uint64(2654435761)) % np.uint64(1 << 32)) >> np.uint64(24)).astype(np.uint8).reshape(height, width, 3)


def letterbox(image, full_w, full_h, w, h, keep):
    if not keep:
        return cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    r = min(w / full_w, h / full_h)
    new_w, new_h = max(1, round(full_w * r)), max(1, round(full_h * r))
    left, top = round((w - new_w) / 2 - 0.1), round((h - new_h) / 2 - 0.1)
    out = np.full((h, w, 3), 114, np.uint8)
    out[top:top + new_h, left:left + new_w] = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    return out


def main():
    cases = []
    for width, height, factor, w, h, keep in [
        (640, 480, 1, 416, 416, True), (1280, 720, 2, 640, 640, True), (1280, 720, 1, 640, 640, True), (301, 97, 1, 64, 64, True),
        (97, 301, 1, 64, 64, True), (33, 21, 1, 64, 64, True), (416, 416, 1, 416, 416, True), (417, 833, 1, 416, 416, True),
        (1, 1, 1, 16, 16, True), (1, 40, 1, 16, 16, True), (40, 1, 1, 16, 16, True), (2, 3, 1, 16, 8, True), (192, 192, 1, 96, 96, False),
        (100, 100, 1, 96, 96, False), (50, 70, 1, 96, 64, False), (999, 1001, 1, 640, 320, True), (1999, 1501, 2, 640, 640, True),
    ]:
        image = source(-(-width // factor), -(-height // factor))  # stands for what the decoder gives of width x height
        out = letterbox(image, width, height, w, h, keep)
        cases.append({"width": width, "height": height, "factor": factor, "input_width": w, "input_height": h, "letterbox": keep,
                      "sha256": hashlib.sha256(out.tobytes()).hexdigest()})
    with open(os.path.join(HERE, "letterbox.json"), "w", encoding="utf-8") as file:
        json.dump({"opencv": cv2.__version__, "cases": cases}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
