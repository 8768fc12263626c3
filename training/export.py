"""Turn a checkpoint into a package: `export.py --model NAME`.

Everything that a package claims is measured here, from the weights that are
written, through the same preprocessing as the server's.
"""
from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import sys

import cv2
import numpy as np
import torch
import yaml

import evaluate as ev
import golden
from card import write_card
from data import digest, load_detection, root
from gram import build_votes, crops_tensor, load_fields, score, split_blocks
from net import build, parameters
from predict import run
from preprocess import vote_crops
from runtime import Exported, export, run_onnx
from train import HERE, load_config, say


def revision(name: str) -> str:
    """Digest of the training code and the model's configuration."""
    total = hashlib.sha256()
    for path in sorted(glob.glob(os.path.join(HERE, "*.py"))) + [os.path.join(HERE, "config", name + ".yaml")]:
        total.update(os.path.basename(path).encode() + b"\0" + open(path, "rb").read())
    return total.hexdigest()


def texts(name: str) -> dict:
    with open(os.path.join(HERE, "texts", name + ".yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def flat(config: dict) -> dict:
    """Hyper-parameters as flat scalars."""
    skip = {"name", "task", "data", "labels", "seed", "epochs"}
    return {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in config.items() if k not in skip}


def figures(value: float, span: tuple[float, float]) -> dict:
    return {"value": round(value, 4), "low": round(span[0], 4), "high": round(span[1], 4)}


def annotated(samples: list, kind: str) -> list[str]:
    """The image files and what annotates them."""
    paths = [s.path for s in samples]
    if kind == "urine":
        folder = os.path.join(root(), "urine", "umid")
        return paths + [os.path.join(folder, "train.csv"), os.path.join(folder, "val.csv")]
    return paths + [p.replace("JPEGImages", "Annotations").replace(".jpg", ".xml") if "bccd" in p
                    else os.path.splitext(p.replace(os.sep + "images" + os.sep, os.sep + "labels" + os.sep))[0] + ".txt"
                    for p in paths]


def detector_package(config: dict, work: str, which: str, folder: str) -> dict:
    """Evaluate a detector and write its graph; the manifest's own parts are returned."""
    saved = torch.load(os.path.join(work, which + ".pt"))
    model = build(config).to(memory_format=torch.channels_last)
    model.load_state_dict(saved["average"])
    train, val, _ = load_detection(config["data"], config["input"])
    records = run(model, val, config, 0.01)
    classes = len(config["labels"])
    result, spans = ev.evaluate(records, classes), ev.bootstrap(records, classes, 1000)
    val_name = "bccd-val" if config["data"] == "blood" else "umid-val"
    say(f"{which} after {saved['state']['epoch']} epochs: {result}")
    metrics = [{"name": "mAP50", "split": val_name, **figures(result["map50"], spans["map50"]), "images": len(val)}]
    metrics.append({"name": "mAP50-95", "split": val_name, "value": round(result["map50_95"], 4), "images": len(val)})
    points = []
    for c, label in enumerate(config["labels"]):
        metrics.append({"name": "AP50", "label": label, "split": val_name,
                        **figures(result["ap50"][c], spans["ap50"][c]), "images": len(val)})
        point = ev.operating_point(*ev.pooled([ev.match(r, c, 0.5) for r in records]))
        points.append({k: round(point[k], 4) for k in ("threshold", "sensitivity", "precision")})
    groups = {"bccd-train": [s for s in train if s.source == "bccd"], "txl-pbc": [s for s in train if s.source == "txl"],
              "umid-train": [s for s in train if s.source == "umid"], val_name: val}
    data = {name: (len(part), digest(annotated(part, config["data"]))) for name, part in groups.items() if part}
    export(Exported(model, config["input"]), config["input"], os.path.join(folder, "model.onnx"), metadata(config, 32))
    return {"model": model, "epochs": saved["state"]["epoch"], "seconds": saved["state"]["seconds"], "points": points,
            "metrics": metrics, "data": data, "val": val, "result": result}


def votes_package(config: dict, work: str, which: str, folder: str) -> dict:
    """The same for the crop-vote classifier; its unit of evaluation is the field."""
    saved = torch.load(os.path.join(work, which + ".pt"))
    model = build_votes(config)
    model.load_state_dict(saved["average"])
    train, val = split_blocks(load_fields(), config["val_share"], config["gap"])
    accuracy, results = score(model, val, config)
    say(f"{which}: accuracy {accuracy:.4f}; wrong: "
        + ", ".join(f"{f.folder}/{f.number}->{r['label']}" for f, r in results if r["label"] != config["labels"][f.label]))
    hits = [r["label"] == config["labels"][f.label] for f, r in results]
    metrics = [{"name": "accuracy", "split": "riskchan-val", **figures(accuracy, ev.share_interval(hits)), "images": len(val)}]
    points = []
    for c, label in enumerate(config["labels"]):
        mine = [h for (f, _), h in zip(results, hits) if f.label == c]
        called = [f.label == c for f, r in results if r["label"] == label]
        sensitivity = sum(mine) / len(mine)
        metrics.append({"name": "sensitivity", "label": label, "split": "riskchan-val",
                        **figures(sensitivity, ev.share_interval(mine)), "images": len(mine)})
        points.append({"threshold": config["vote_threshold"], "sensitivity": round(sensitivity, 4),
                       "precision": round(sum(called) / len(called), 4) if called else 0.0})
    data = {"riskchan-train": (len(train), digest([f.path for f in train])),
            "riskchan-val": (len(val), digest([f.path for f in val]))}
    model.decode = True
    export(model, config["input"], os.path.join(folder, "model.onnx"), metadata(config, 8))
    model.decode = False
    return {"model": model, "epochs": saved["state"]["epoch"], "seconds": saved["state"]["seconds"], "points": points,
            "metrics": metrics, "data": data, "val": val, "result": {"accuracy": accuracy}}


def metadata(config: dict, stride: int) -> dict[str, str]:
    """Keys as common exporters write them, so that labels and stride can be read from the graph."""
    text = texts(config["name"])
    return {"description": text["summary"]["en"], "author": "Kenkyo", "version": text["version"],
            "license": text["weights_licence"], "stride": str(stride), "batch": "1",
            "task": "detect" if config["task"] == "detect" else "classify",
            "imgsz": str([config["input"], config["input"]]),
            "names": str(dict(enumerate(config["labels"])))}


def manifest(config: dict, made: dict, folder: str) -> dict:
    """model.yaml, in the order in which it is read."""
    text, weights = texts(config["name"]), open(os.path.join(folder, "model.onnx"), "rb").read()
    detect = config["task"] == "detect"
    out: dict = {
        "schema": 1, "name": config["name"], "version": text["version"], "task": config["task"], "summary": text["summary"],
        "weights": {"file": "model.onnx", "sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)},
        "input": {"width": config["input"], "height": config["input"], "colour": "rgb", "scale": 1 / 255, "mean": [0, 0, 0],
                  "std": [1, 1, 1], "letterbox": detect, "pad": 114, "dtype": "float32"},
        "output": {"layout": "yolov8" if detect else "softmax"}}
    if detect:
        out["nms"] = {"iou": config["nms_iou"], "max_detections": config["max_detections"]}
    else:
        out["crop_vote"] = {"crop_px": config["crop_px"], "crop_um": 0, "crops": config["crops"], "seed": config["vote_seed"],
                            "background": config["background"], "vote_threshold": config["vote_threshold"],
                            "min_foreground_share": config["min_foreground_share"]}
    out["labels"] = [{"name": name, **text["labels"][name], "operating_point": point}
                     for name, point in zip(config["labels"], made["points"])]
    out["lineage"] = {
        "trainer": {"revision": revision(config["name"]), "framework": "torch 1.13.1", "seed": config["seed"],
                    "epochs": made["epochs"], "parameters": parameters(made["model"]), "hyper_parameters": flat(config)},
        "data": [{"name": name, **text["data"][name], "images": images, "sha256": sha}
                 for name, (images, sha) in made["data"].items()],
        "metrics": made["metrics"]}
    out["licence"] = {"code": "Apache-2.0", "weights": text["weights_licence"]}
    out["intended_use"], out["limits"] = text["intended_use"], text["limits"]
    out["golden"] = {"image": "golden.png", "expected": "golden.json", "confidence_tolerance": 0.02, "box_tolerance_px": 2.0}
    return out


def verify(made: dict, config: dict, path: str, ort: str) -> dict:
    """Largest difference between the exported graph under ONNX Runtime and the trained network, and its speed."""
    side = config["input"]
    rng = np.random.default_rng(1)
    if config["task"] == "detect":
        from preprocess import letterbox
        x = np.stack([letterbox(s.image, s.width, s.height, side, side)[0] for s in made["val"][:4]])
        reference = Exported(made["model"], side).eval()
    else:
        field = made["val"][0]
        x = vote_crops(field.image, config["crop_px"], 4, int(rng.integers(1 << 30)), side)
        reference = made["model"].eval()
        reference.decode = True
    tensor = crops_tensor(x)
    with torch.no_grad():
        expected = reference(tensor).numpy()
    got, _ = run_onnx(path, tensor.numpy(), ort)
    _, one = run_onnx(path, tensor[:1].numpy(), ort, 100)
    if config["task"] != "detect":
        reference.decode = False
        return {"probability": float(np.abs(got - expected).max()), "ms": one["ms"], "fastest_ms": one["fastest"]}
    return {"box_px": float(np.abs(got[:, :4] - expected[:, :4]).max()),
            "probability": float(np.abs(got[:, 4:] - expected[:, 4:]).max()), "ms": one["ms"], "fastest_ms": one["fastest"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", default=os.path.join(HERE, ".work"))
    parser.add_argument("--out", default=os.path.join(os.path.dirname(HERE), "models"))
    parser.add_argument("--which", default="", help="checkpoint: best or last")
    parser.add_argument("--ort", default="", help="folder with node_modules/onnxruntime-node, to verify the export")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(args.model)
    work, folder = os.path.join(args.work, args.model), os.path.join(args.out, args.model)
    os.makedirs(folder, exist_ok=True)
    detect = config["task"] == "detect"
    which = args.which or ("best" if detect else "last")
    made = (detector_package if detect else votes_package)(config, work, which, folder)
    path = os.path.join(folder, "model.onnx")
    out = manifest(config, made, folder)
    image, expected = golden.make(config, made, path, args.ort)
    cv2.imwrite(os.path.join(folder, "golden.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as file:
        json.dump(expected, file, ensure_ascii=False, indent=1)
        file.write("\n")
    with open(os.path.join(folder, "model.yaml"), "w", encoding="utf-8") as file:
        yaml.safe_dump(out, file, sort_keys=False, allow_unicode=True, width=140)
    checked = verify(made, config, path, args.ort) if args.ort else None
    write_card(os.path.join(folder, "CARD.md"), config, texts(args.model), out, made, checked)
    print(json.dumps({"model": args.model, "bytes": out["weights"]["bytes"], "parameters": parameters(made["model"]),
                      "result": made["result"], "verified": checked, "golden": golden.summary(expected)}), file=sys.stderr)


if __name__ == "__main__":
    main()
