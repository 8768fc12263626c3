"""The detector: a small anchor-free convolutional network.

Sized for a CPU that serves many images a second. Early layers, where the maps
are large, use ReLU (it fuses into the convolution at inference); later ones
use SiLU, which trains better and costs little there.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
BINS = 16


class Conv(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, i: int, o: int, k: int = 3, s: int = 1, groups: int = 1, act: type[nn.Module] = nn.SiLU):
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(o, eps=1e-3, momentum=0.03)
        self.act = act(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, c: int, add: bool, act: type[nn.Module]):
        super().__init__()
        self.a, self.b, self.add = Conv(c, c, act=act), Conv(c, c, act=act), add

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x))
        return x + y if self.add else y


class Split(nn.Module):
    """Cross-stage block: half the channels pass by, half go through residual steps, all are kept."""

    def __init__(self, i: int, o: int, n: int, add: bool = True, act: type[nn.Module] = nn.SiLU):
        super().__init__()
        self.half = o // 2
        self.enter = Conv(i, o, 1, act=act)
        self.steps = nn.ModuleList(Residual(self.half, add, act) for _ in range(n))
        self.leave = Conv(o + n * self.half, o, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).split(self.half, 1))
        for step in self.steps:
            parts.append(step(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Three chained max pools: a wide view at the price of a narrow one."""

    def __init__(self, c: int):
        super().__init__()
        self.enter, self.leave = Conv(c, c // 2, 1), Conv(c * 2, c, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enter(x)
        b = self.pool(a)
        c = self.pool(b)
        return self.leave(torch.cat([a, b, c, self.pool(c)], 1))


class Head(nn.Module):
    """Class scores and, for each side of the box, a distribution over distances."""

    def __init__(self, c: int, width: int, classes: int):
        super().__init__()
        self.box = nn.Sequential(Conv(c, width), Conv(width, width), nn.Conv2d(width, 4 * BINS, 1))
        self.cls = nn.Sequential(Conv(c, c, 3, groups=c), Conv(c, width, 1), Conv(width, width, 3, groups=width),
                                 Conv(width, width, 1), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.box(x).flatten(2), self.cls(x).flatten(2)


class Detector(nn.Module):
    """Backbone, two-way neck and heads. Raw outputs in training; decoded when `decode` is set."""

    def __init__(self, classes: int, channels: list[int], blocks: list[int], head_width: int):
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        n2, n3, n4, n5 = blocks
        fast = nn.ReLU
        self.classes = classes
        self.stem = nn.Sequential(Conv(3, c1, 3, 2, act=fast), Conv(c1, c2, 3, 2, act=fast),
                                  Split(c2, c2, n2, act=fast))
        self.p3 = nn.Sequential(Conv(c2, c3, 3, 2, act=fast), Split(c3, c3, n3))
        self.p4 = nn.Sequential(Conv(c3, c4, 3, 2), Split(c4, c4, n4))
        self.p5 = nn.Sequential(Conv(c4, c5, 3, 2), Split(c5, c5, n5), Pyramid(c5))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.t4 = Split(c5 + c4, c4, 1, False)
        self.t3 = Split(c4 + c3, c3, 1, False)
        self.d3, self.b4 = Conv(c3, c3, 3, 2), Split(c3 + c4, c4, 1, False)
        self.d4, self.b5 = Conv(c4, c4, 3, 2), Split(c4 + c5, c5, 1, False)
        self.heads = nn.ModuleList(Head(c, head_width, classes) for c in (c3, c4, c5))
        self.decode = False
        for head in self.heads:
            nn.init.constant_(head.cls[-1].bias, -math.log((1 - 0.01) / 0.01))
            nn.init.constant_(head.box[-1].bias, 0.0)

    def forward(self, x: Tensor):
        h, w = x.shape[2], x.shape[3]
        a3 = self.p3(self.stem(x))
        a4 = self.p4(a3)
        a5 = self.p5(a4)
        m4 = self.t4(torch.cat([self.up(a5), a4], 1))
        m3 = self.t3(torch.cat([self.up(m4), a3], 1))
        o4 = self.b4(torch.cat([self.d3(m3), m4], 1))
        o5 = self.b5(torch.cat([self.d4(o4), a5], 1))
        out = [head(v) for head, v in zip(self.heads, (m3, o4, o5))]
        box, cls = torch.cat([o[0] for o in out], 2), torch.cat([o[1] for o in out], 2)
        return self.decoded(box, cls, h, w) if self.decode else (box, cls)

    def decoded(self, box: Tensor, cls: Tensor, h: int, w: int) -> Tensor:
        """[batch, 4+classes, anchors]: centre, size in input pixels, then probabilities."""
        points, strides = anchors(h, w)
        side = distances(box) * strides
        x1, y1 = points[0] - side[:, 0], points[1] - side[:, 1]
        x2, y2 = points[0] + side[:, 2], points[1] + side[:, 3]
        xywh = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
        return torch.cat([xywh, cls.sigmoid()], 1)


def distances(box: Tensor) -> Tensor:
    """Expected distance of each side in strides: [batch, 4, anchors]."""
    b, _, n = box.shape
    p = box.view(-1, 4, BINS, n).softmax(2)
    bins = torch.arange(BINS, dtype=p.dtype).view(1, 1, BINS, 1)
    return (p * bins).sum(2)


def anchors(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Centres of the grid cells in input pixels [2, anchors] and the stride of each [anchors]."""
    points, strides = [], []
    for s in STRIDES:
        gh, gw = h // s, w // s
        y = (torch.arange(gh, dtype=torch.float32) + 0.5) * s
        x = (torch.arange(gw, dtype=torch.float32) + 0.5) * s
        points.append(torch.stack([x.repeat(gh), y.repeat_interleave(gw)]))
        strides.append(torch.full((gh * gw,), float(s)))
    return torch.cat(points, 1), torch.cat(strides)


def build(config: dict) -> Detector:
    return Detector(len(config["labels"]), config["channels"], config["blocks"], config["head_width"])


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
