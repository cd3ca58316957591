"""``python -m cegppo_verl.toy.build NAME FOLDER``: build one model in a process of its own.

A process of its own, so that the caller needs no torch in memory and thread settings cannot leak.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cegppo_verl.toy.recipes import SMOLLM2, TOY, ToyRecipe

CARD = "toy_card.json"


def build_toy(name: str, recipe: ToyRecipe, folder: Path) -> dict[str, Any]:
    """Train, measure and save a toy model; returns its card, which is also written to ``toy_card.json``."""
    import torch

    from cegppo_verl.toy import model as toy_model
    from cegppo_verl.toy import sft

    start = time.monotonic()
    model = sft.train(recipe, lambda line: _say(name, line))
    seconds = time.monotonic() - start
    toy_model.save(model, folder)
    card = {
        "name": name,
        "task": "pick",
        "recipe": asdict(recipe),
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "measured": sft.measure(model),
        "training_seconds": round(seconds, 1),
        "torch": torch.__version__,
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
    return card


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    """Build ``arguments[0]`` into the folder ``arguments[1]``."""
    name, folder = arguments[0], Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    if name == SMOLLM2:
        from cegppo_verl.toy import smollm2

        smollm2.convert(folder)
        return
    measured = build_toy(name, TOY[name], folder)["measured"]
    _say(name, f"accuracy {measured['accuracy']:.3f}, entropy {measured['entropy']:.3f} nats/token at T=1")


if __name__ == "__main__":
    main(sys.argv[1:])
