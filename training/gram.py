"""The Gram classifier: a small network on random sub-crops, and the vote over them.

A crop of a field with bacteria may hold none, so during training a crop is
drawn where the image differs from its own background, and crops that show
nothing are left to the Background class by the vote, not by the label.
"""
from __future__ import annotations

import copy
import math
import os
import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augment import colour
from data import root
from net import Conv, Residual, parameters
from preprocess import vote_crops

FOLDERS = {"Staphylococcus_aureus": 0, "Enterococcus_faecalis": 0, "Streptococcus_agalactiae": 0,
           "Bacillus_cereus": 1, "Escherichia_coli": 2, "Background": 3}


@dataclass
class Field:
    """One image of the Gram set; `ink` is a coarse map of where something is."""

    path: str
    folder: str
    number: int
    image: np.ndarray
    label: int
    ink: np.ndarray


def ink_map(image: np.ndarray) -> np.ndarray:
    """How far each pixel is from the typical colour of its image, normalised."""
    small = cv2.resize(image, (50, 50), interpolation=cv2.INTER_AREA).astype(np.float32)
    far = np.abs(small - np.median(small.reshape(-1, 3), axis=0)).sum(2)
    return far


def load_fields() -> list[Field]:
    fields = []
    for folder, label in sorted(FOLDERS.items()):
        where = os.path.join(root(), "gram", "riskchan", folder)
        for file in sorted(os.listdir(where)):
            path = os.path.join(where, file)
            image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            fields.append(Field(path, folder, int(file.split(".")[0]), image, label, ink_map(image)))
    return fields


def split_blocks(fields: list[Field], share: float, gap: int, fold: int | None = None) -> tuple[list[Field], list[Field]]:
    """Contiguous blocks of numbers, with a gap left out: neighbours come from one micrograph.

    Without a fold the last block of every folder is held out; fold i of
    round(1/share) holds out the i-th block instead, for cross-validation.
    """
    train, val = [], []
    for folder in sorted({f.folder for f in fields}):
        mine = sorted((f for f in fields if f.folder == folder), key=lambda f: f.number)
        n = len(mine)
        size = round(n * share)
        folds = round(1 / share)
        i = folds - 1 if fold is None else fold
        low = n - size if i == folds - 1 else i * size
        block = mine[low:low + size]
        first, last = block[0].number, block[-1].number
        val += block
        train += [f for f in mine if f.number < first - gap or f.number > last + gap]
    return train, val


class VoteNet(nn.Module):
    """Plain residual stages, mean and max pooling; softmax when `decode` is set."""

    def __init__(self, classes: int, channels: list[int]):
        super().__init__()
        c1, c2, c3, c4 = channels
        relu = nn.ReLU
        self.body = nn.Sequential(
            Conv(3, c1, 3, 2, act=relu), Conv(c1, c2, 3, 2, act=relu), Residual(c2, True, relu),
            Conv(c2, c3, 3, 2, act=relu), Residual(c3, True, relu),
            Conv(c3, c4, 3, 2, act=relu), Residual(c4, True, relu))
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(2 * c4, classes)
        self.decode = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y = self.out(self.drop(torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1)))
        return y.softmax(1) if self.decode else y


def build_votes(config: dict) -> VoteNet:
    return VoteNet(len(config["labels"]), config["channels"])


def draw_crop(field: Field, config: dict, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A turned, rescaled, recoloured crop.

    In a field with bacteria the centre is drawn by the ink map, mostly, so that
    the crop shows what its label says; a crop whose ink is negligible is
    returned as Background.
    """
    h, w = field.image.shape[:2]
    size = int(config["crop_px"] * rng.uniform(0.8, 1.25))
    size = min(size, h, w)
    best = None
    for _ in range(4 if field.label != 3 else 1):
        x, y = int(rng.integers(w - size + 1)), int(rng.integers(h - size + 1))
        a, b = field.ink.shape
        part = field.ink[y * a // h:max((y + size) * a // h, y * a // h + 1), x * b // w:max((x + size) * b // w, x * b // w + 1)]
        amount = float(np.sort(part.ravel())[-12:].mean())
        if best is None or amount > best[0]:
            best = (amount, x, y)
        if rng.random() < 0.35:
            break
    _, x, y = best
    crop = cv2.resize(field.image[y:y + size, x:x + size], (config["input"],) * 2, interpolation=cv2.INTER_LINEAR)
    crop = np.rot90(crop, int(rng.integers(4)))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.3:
        crop = cv2.GaussianBlur(np.ascontiguousarray(crop), (0, 0), float(rng.uniform(0.4, 1.2)))
    crop = colour(np.ascontiguousarray(crop), config["colour_jitter"], rng)
    visible = 0.25 * float(np.sort(field.ink.ravel())[-12:].mean())
    label = field.label if field.label == 3 or best[0] >= visible else 3
    return crop, label


def crops_tensor(crops: np.ndarray) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(np.stack(list(crops)).transpose(0, 3, 1, 2))).float()
    return x.mul_(1 / 255)


def tally(probabilities: np.ndarray, config: dict) -> dict:
    """The vote as the server counts it."""
    labels, background = config["labels"], config["background"]
    votes = {name: 0 for name in labels}
    for p in probabilities:
        if p.max() >= config["vote_threshold"]:
            votes[labels[int(p.argmax())]] += 1
    cast = sum(votes.values())
    front = {name: n for name, n in votes.items() if name != background}
    total = sum(front.values())
    if total < config["min_foreground_share"] * len(probabilities) or total == 0:
        return {"label": background, "confidence": votes[background] / cast if cast else 0.0, "votes": votes}
    label = max(front, key=lambda name: front[name])
    return {"label": label, "confidence": front[label] / total, "votes": votes}


@torch.no_grad()
def vote(model: VoteNet, image: np.ndarray, config: dict) -> dict:
    model.eval()
    model.decode = True
    crops = vote_crops(image, config["crop_px"], config["crops"], config["vote_seed"], config["input"])
    out = model(crops_tensor(crops)).numpy()
    model.decode = False
    return tally(out, config)


def score(model: VoteNet, fields: list[Field], config: dict) -> tuple[float, list[tuple[Field, dict]]]:
    results = [(f, vote(model, f.image, config)) for f in fields]
    right = sum(r["label"] == config["labels"][f.label] for f, r in results)
    return right / len(results), results


def train_votes(config: dict, work: str, resume: bool, fold: int | None = None) -> None:
    """Balanced sampling of classes, seeded by epoch; a checkpoint after each."""
    from train import optimiser, save, say, update_average
    torch.manual_seed(config["seed"])
    train, val = split_blocks(load_fields(), config["val_share"], config["gap"], fold)
    say(f"{config['name']}: {len(train)} train, {len(val)} val")
    model = build_votes(config)
    say(f"{parameters(model)} parameters")
    average, opt = copy.deepcopy(model), optimiser(model, config)
    state = {"epoch": 0, "step": 0, "best": -1.0, "seconds": 0.0}
    last = os.path.join(work, "last.pt" if fold is None else f"fold{fold}.pt")
    if resume and os.path.exists(last):
        saved = torch.load(last)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        opt.load_state_dict(saved["optimiser"])
        state = saved["state"]
    folders = sorted({f.folder for f in train})
    by_folder = {name: [f for f in train if f.folder == name] for name in folders}
    # one third cocci (three folders), and the others as often as each other
    chance = np.array([0.09 if FOLDERS[name] == 0 else 0.24 if FOLDERS[name] != 3 else 0.25 for name in folders])
    chance /= chance.sum()
    steps = config["crops_per_epoch"] // config["batch"]
    for epoch in range(state["epoch"], config["epochs"]):
        begun, total = time.time(), 0.0
        rng = np.random.default_rng([config["seed"], epoch])
        torch.manual_seed(config["seed"] * 100003 + epoch)
        model.train()
        for i in range(steps):
            progress = (epoch + i / steps) / config["epochs"]
            rate = config["final_rate"] + (1 - config["final_rate"]) * (1 + math.cos(math.pi * progress)) / 2
            for group in opt.param_groups:
                group["lr"] = config["learning_rate"] * rate * min(1.0, (state["step"] + 1) / 100)
            drawn = []
            for name in rng.choice(folders, config["batch"], p=chance):
                fields = by_folder[name]
                drawn.append(draw_crop(fields[rng.integers(len(fields))], config, rng))
            loss = F.cross_entropy(model(crops_tensor([c for c, _ in drawn])),
                                   torch.tensor([c for _, c in drawn]), label_smoothing=0.05)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            state["step"] += 1
            update_average(average, model, state["step"], config["ema"])
            total += float(loss)
        state["epoch"], state["seconds"] = epoch + 1, state["seconds"] + time.time() - begun
        line = f"epoch {epoch + 1}/{config['epochs']} {time.time() - begun:.0f}s loss {total / steps:.3f}"
        if (epoch + 1) % 5 == 0:
            accuracy, _ = score(average, val, config)
            line += f" vote accuracy {accuracy:.4f}"
        say(line)
        save(last, {"model": model.state_dict(), "average": average.state_dict(),
                    "optimiser": opt.state_dict(), "state": state})
