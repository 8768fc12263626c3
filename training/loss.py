"""The detection loss: who answers for which box, and how wrong the answer is.

Assignment follows the task-aligned idea: an anchor answers for a box when it
lies inside it and when its own score and overlap are among the best, so that
the scores learn to rank by the quality of the box.
"""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from net import BINS, anchors, distances

TOP = 10
ALPHA, BETA = 0.5, 6.0
BOX_GAIN, CLASS_GAIN, BIN_GAIN = 7.5, 0.6, 1.5


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise IoU of [m,4] with [n,4]."""
    lo = torch.maximum(a[:, None, :2], b[None, :, :2])
    hi = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (hi - lo).clamp_(min=0).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return inter / (area_a[:, None] + area_b[None] - inter + 1e-7)


def complete_iou(p: Tensor, t: Tensor) -> Tensor:
    """CIoU of matched boxes: overlap less centre distance less difference of shape."""
    lo, hi = torch.maximum(p[:, :2], t[:, :2]), torch.minimum(p[:, 2:], t[:, 2:])
    inter = (hi - lo).clamp(min=0).prod(1)
    pw, ph = (p[:, 2] - p[:, 0]).clamp(min=1e-3), (p[:, 3] - p[:, 1]).clamp(min=1e-3)
    tw, th = t[:, 2] - t[:, 0], t[:, 3] - t[:, 1]
    iou = inter / (pw * ph + tw * th - inter + 1e-7)
    hull = torch.maximum(p[:, 2:], t[:, 2:]) - torch.minimum(p[:, :2], t[:, :2])
    centre = ((p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]) ** 2).sum(1) / 4
    shape = (4 / math.pi ** 2) * (torch.atan(tw / th) - torch.atan(pw / ph)) ** 2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou - centre / ((hull ** 2).sum(1) + 1e-7) - weight * shape


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, targets: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For one image: answering anchors, the target each answers for, and its soft class target."""
    m = len(targets)
    px, py = points[0][None], points[1][None]
    inside = ((px > targets[:, 0:1]) & (px < targets[:, 2:3]) & (py > targets[:, 1:2]) & (py < targets[:, 3:4]))
    cand = inside.any(0).nonzero()[:, 0]
    if not len(cand):
        return cand, cand, torch.zeros(0)
    inside = inside[:, cand]
    iou = overlap(targets, boxes[cand]) * inside
    align = scores[cand].T[labels].pow(ALPHA) * iou.pow(BETA)
    chosen = torch.zeros_like(inside)
    top = align.topk(min(TOP, align.shape[1]), 1).indices
    chosen.scatter_(1, top, True)
    chosen &= inside
    owner = torch.where(chosen, iou + 1e-9, torch.zeros_like(iou)).argmax(0)
    chosen &= torch.arange(m)[:, None] == owner[None]
    align = align * chosen
    best_align = align.max(1).values
    best_iou = (iou * chosen).max(1).values
    soft = (align * (best_iou / (best_align + 1e-12))[:, None]).max(0).values
    hit = chosen.any(0)
    return cand[hit], owner[hit], soft[hit]


def detection_loss(raw: tuple[Tensor, Tensor], size: tuple[int, int], batch: list) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch of canvases; anchors within ignore regions are silent unless they answer for a box."""
    bins, logits = raw
    points, strides = anchors(*size)
    side = distances(bins) * strides
    boxes = torch.stack([points[0] - side[:, 0], points[1] - side[:, 1],
                         points[0] + side[:, 2], points[1] + side[:, 3]], 2)
    logits = logits.transpose(1, 2)
    target = torch.zeros_like(logits)
    weight = torch.ones_like(logits)
    scores = logits.detach().sigmoid()
    got_p, got_t, got_w, got_bins, got_dist = [], [], [], [], []
    for i, canvas in enumerate(batch):
        for x1, y1, x2, y2, c in canvas.ignore.tolist():
            mask = (points[0] > x1) & (points[0] < x2) & (points[1] > y1) & (points[1] < y2)
            if c < 0:
                weight[i, mask] = 0
            else:
                weight[i, mask, int(c)] = 0
        if not len(canvas.boxes):
            continue
        gt, label = torch.from_numpy(canvas.boxes).float(), torch.from_numpy(canvas.labels)
        index, owner, soft = assign(scores[i], boxes[i].detach(), points, gt, label)
        if not len(index):
            continue
        target[i, index, label[owner]] = soft
        weight[i, index] = 1
        t, p, s = gt[owner], points[:, index].T, strides[index, None]
        got_p.append(boxes[i, index])
        got_t.append(t)
        got_w.append(soft)
        got_bins.append(bins[i, :, index].T)
        got_dist.append((torch.cat([p - t[:, :2], t[:, 2:] - p], 1) / s).clamp(0, BINS - 1.01))
    total = target.sum().clamp(min=1.0)
    cls = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum() / total
    if got_p:
        w = torch.cat(got_w)
        box = ((1 - complete_iou(torch.cat(got_p), torch.cat(got_t))) * w).sum() / total
        dist = torch.cat(got_dist)
        left = dist.floor().long()
        frac = dist - left
        logp = torch.cat(got_bins).view(-1, 4, BINS).log_softmax(2)
        near = -(logp.gather(2, left[..., None])[..., 0] * (1 - frac) + logp.gather(2, left[..., None] + 1)[..., 0] * frac)
        dfl = (near.mean(1) * w).sum() / total
    else:
        box = dfl = bins.sum() * 0
    loss = BOX_GAIN * box + CLASS_GAIN * cls + BIN_GAIN * dfl
    return loss, {"box": float(box), "cls": float(cls), "dfl": float(dfl)}
