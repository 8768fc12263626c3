"""The model card: what the package is for, how it was made and how far it can be trusted."""
from __future__ import annotations

NOTICE = "**Research use only, not a medical device. / 研究用であり医療機器ではありません（薬機法）。**"


def span(metric: dict) -> str:
    if "low" not in metric:
        return "—"
    return f"{metric['low']:.3f} – {metric['high']:.3f}"


def write_card(path: str, config: dict, text: dict, manifest: dict, made: dict, checked: dict | None) -> None:
    trainer, detect = manifest["lineage"]["trainer"], config["task"] == "detect"
    lines = [f"# {manifest['name']} {manifest['version']}", "", NOTICE, "", text["summary"]["en"], ""]
    lines += ["## Intended use", "", text["intended_use"]["en"], ""]
    lines += ["## Data", "", text["data_notes"].strip(), "", "| set | source | licence | images |", "|---|---|---|---|"]
    lines += [f"| {d['name']} | {d['source']} | {d['licence']} | {d['images']} |" for d in manifest["lineage"]["data"]]
    lines += ["", "The manifest holds a digest of each set: SHA-256 over the sorted SHA-256 of its files.", ""]
    lines += ["## Split", "", text["split_notes"].strip(), ""]
    lines += ["## Training", "",
              f"Written for this project and trained from random weights on a CPU with {trainer['framework']}: "
              f"{trainer['parameters']:,} parameters, {trainer['epochs']} epochs, seed {trainer['seed']}, "
              f"{made['seconds'] / 60:.0f} minutes of a core shared with other work. No pretrained weights, no third-party training code. "
              "`training/README.md` tells how to reproduce it.", ""]
    if "training_notes" in text:
        lines += [text["training_notes"].strip(), ""]
    if detect:
        lines += [f"Anchor-free, strides 8, 16 and 32, input {config['input']}x{config['input']} letterboxed; task-aligned assignment, "
                  "CIoU and distribution focal losses; mosaics, quarter turns, mirrors, scale and colour; moving average of weights.", ""]
    else:
        lines += [f"A small residual network on {config['input']}x{config['input']} px made from crops of {config['crop_px']} px; "
                  "quarter turns, mirrors, scale, blur and colour; moving average of weights. A field is named by "
                  f"{config['crops']} crops at positions from a fixed seed.", ""]
    lines += ["## Results", "", "95 % intervals by bootstrap over images (1000 resamples).", "",
              "| metric | label | split | value | 95 % interval | images |", "|---|---|---|---|---|---|"]
    lines += [f"| {m['name']} | {m.get('label', 'all')} | {m['split']} | {m['value']:.3f} | {span(m)} | {m['images']} |"
              for m in manifest["lineage"]["metrics"]]
    rule = ("the threshold with the highest F1 on the validation split at IoU 0.5, halfway to the next lower score" if detect
            else "a crop votes when its best probability reaches the threshold; sensitivity and precision are those of whole fields")
    lines += ["", f"Operating points: {rule}.", "", "| label | threshold | sensitivity | precision |", "|---|---|---|---|"]
    lines += [f"| {x['name']} ({x['en']}) | {p['threshold']:.3f} | {p['sensitivity']:.3f} | {p['precision']:.3f} |"
              for x in manifest["labels"] for p in [x["operating_point"]]]
    if checked:
        parts = [f"probabilities differ by at most {checked['probability']:.1e}"]
        if "box_px" in checked:
            parts.append(f"boxes by at most {checked['box_px']:.1e} px")
        lines += ["", f"Export checked with ONNX Runtime against the trained network: {', '.join(parts)}. "
                      f"Forward time there, batch 1 on one core: {checked['fastest_ms']:.1f} ms."]
    lines += ["", "## Known failures", "", text["failures"].strip(), "", "## Limits", ""]
    lines += [f"- {item['en']}" for item in text["limits"]]
    lines += ["", "## Licence", "", f"Code: {manifest['licence']['code']}. Weights: {manifest['licence']['weights']}.", ""]
    lines += ["## 概要（日本語）", "", text["summary"]["ja"], "", text["intended_use"]["ja"], ""]
    lines += [f"- {item['ja']}" for item in text["limits"]]
    main = manifest["lineage"]["metrics"][0]
    lines += ["", f"検証データ（{main['images']}枚）での {main['name']} は {main['value']:.3f}（95％信頼区間 {span(main)}）です。", "",
              "研究用であり医療機器ではありません（薬機法）。診断・治療の判断に用いないでください。", ""]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
