"""Train one of the models: `train.py --model NAME`.

Every epoch is seeded by its number and ends in a checkpoint, so a run that was
cut short goes on where it stopped and gives the same numbers.
"""
from __future__ import annotations

import argparse
import copy
import math
import os
import queue
import sys
import threading
import time

import numpy as np
import torch
import yaml

import augment
from data import Sample, load_detection
from evaluate import evaluate
from loss import detection_loss
from net import build, parameters
from points import adopt, propose
from predict import run, to_tensor

HERE = os.path.dirname(os.path.abspath(__file__))


def load_config(name: str) -> dict:
    with open(os.path.join(HERE, "config", name + ".yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def batches(samples: list[Sample], config: dict, epoch: int):
    """The canvases of one epoch, seeded by its number."""
    rng = np.random.default_rng([config["seed"], epoch])
    tune = epoch >= config["epochs"] - config["tune_epochs"]
    own = [s for s in samples if s.source in ("bccd", "umid")]
    other = [s for s in samples if s.source not in ("bccd", "umid")]
    order: list[int] = []

    def pick() -> Sample:
        nonlocal order
        if other and not tune and rng.random() > config.get("bccd_share", 1.0):
            return other[rng.integers(len(other))]
        if not order:                     # every own photograph once before any twice
            order = rng.permutation(len(own)).tolist()
        return own[order.pop()]

    count = len(own) if tune else config["samples_per_epoch"]
    for _ in range(math.ceil(count / config["batch"])):
        tiled = not tune and rng.random() < config["mosaic"]
        part = []
        for _ in range(config["batch"]):
            if tiled:
                canvas = augment.mosaic([pick() for _ in range(4)], config["canvas"], config["scale_jitter"], rng)
            else:
                canvas = augment.whole(pick(), config["single"], config["whole_jitter"] * (0.4 if tune else 1.0), rng)
            canvas.image = augment.colour(canvas.image, config["colour_jitter"] * (0.6 if tune else 1.0), rng)
            part.append(canvas)
        yield part


def ahead(items, depth: int = 3):
    """Prepare batches in a thread while the network works."""
    q: queue.Queue = queue.Queue(depth)

    def work() -> None:
        for item in items:
            q.put(item)
        q.put(None)

    threading.Thread(target=work, daemon=True).start()
    while (item := q.get()) is not None:
        yield item


def update_average(average: torch.nn.Module, model: torch.nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of weights, quicker at the start."""
    d = decay * (1 - math.exp(-step / 200))
    with torch.no_grad():
        for a, m in zip(average.state_dict().values(), model.state_dict().values()):
            if a.dtype.is_floating_point:
                a.mul_(d).add_(m, alpha=1 - d)
            else:
                a.copy_(m)


def optimiser(model: torch.nn.Module, config: dict) -> torch.optim.Optimizer:
    """AdamW; no decay on norms and biases."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW([{"params": decay, "weight_decay": config["weight_decay"]},
                              {"params": plain, "weight_decay": 0.0}], lr=config["learning_rate"], betas=(0.9, 0.99))


def save(path: str, value: dict) -> None:
    torch.save(value, path + ".part")
    os.replace(path + ".part", path)


def train_detector(config: dict, work: str, resume: bool) -> None:
    torch.manual_seed(config["seed"])
    train, val, dropped = load_detection(config["data"], config["input"])
    say(f"{config['name']}: {len(train)} train, {len(val)} val, dropped as repeats: {dropped}")
    model = build(config).to(memory_format=torch.channels_last)
    say(f"{parameters(model)} parameters")
    average = copy.deepcopy(model)
    opt = optimiser(model, config)
    state = {"epoch": 0, "step": 0, "best": -1.0, "seconds": 0.0}
    last = os.path.join(work, "last.pt")
    if resume and os.path.exists(last):
        saved = torch.load(last)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        opt.load_state_dict(saved["optimiser"])
        state = saved["state"]
    adopt(train, state.get("adopted", []))
    per_epoch = math.ceil(config["samples_per_epoch"] / config["batch"])
    for epoch in range(state["epoch"], config["epochs"]):
        if epoch in config.get("fill_points_at", []):
            found = propose(average, train, config, state.get("adopted", []))
            state["adopted"] = state.get("adopted", []) + found
            adopt(train, found)
            say(f"adopted {len(state['adopted'])} boxes around {sum(len(s.points) for s in train)} points")
        begun, sums, seen = time.time(), {"box": 0.0, "cls": 0.0, "dfl": 0.0}, 0
        model.train()
        for part in ahead(batches(train, config, epoch)):
            progress = min(1.0, (epoch + min(1.0, seen / per_epoch)) / config["epochs"])
            rate = config["final_rate"] + (1 - config["final_rate"]) * (1 + math.cos(math.pi * progress)) / 2
            rate *= min(1.0, (state["step"] + 1) / 100)
            for group in opt.param_groups:
                group["lr"] = config["learning_rate"] * rate
            x = to_tensor([c.image for c in part])
            loss, pieces = detection_loss(model(x), (x.shape[2], x.shape[3]), part)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            opt.step()
            state["step"] += 1
            update_average(average, model, state["step"], config["ema"])
            seen += 1
            for key, value in pieces.items():
                sums[key] += value
        took = time.time() - begun
        state["epoch"], state["seconds"] = epoch + 1, state["seconds"] + took
        line = f"epoch {epoch + 1}/{config['epochs']} {took:.0f}s " + " ".join(f"{k} {v / seen:.3f}" for k, v in sums.items())
        left = config["epochs"] - epoch - 1
        if (epoch + 1) % config["eval_every"] == 0 or left < 6:
            result = evaluate(run(average, val, config), len(config["labels"]), strict=False)
            line += f" mAP50 {result['map50']:.4f} [" + " ".join(f"{v:.3f}" for v in result["ap50"]) + "]"
            if result["map50"] > state["best"]:
                state["best"] = result["map50"]
                save(os.path.join(work, "best.pt"), {"average": average.state_dict(), "state": dict(state)})
        say(line)
        save(last, {"model": model.state_dict(), "average": average.state_dict(),
                    "optimiser": opt.state_dict(), "state": state})


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", default=os.path.join(HERE, ".work"), help="checkpoints and caches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="ignore a checkpoint instead of resuming from it")
    parser.add_argument("--fold", type=int, help="crop-vote: hold out this block instead of the last, for cross-validation")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = load_config(args.model)
    work = os.path.join(args.work, args.model)
    os.makedirs(work, exist_ok=True)
    if config["task"] == "detect":
        train_detector(config, work, not args.fresh)
    else:
        from gram import train_votes
        train_votes(config, work, not args.fresh, args.fold)


if __name__ == "__main__":
    main()
