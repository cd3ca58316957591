"""An engine without a model: answers depend on prompt and seed alone, and come in random order.

``python evaluate_fake_engine.py [--die-after N | --refuse | --slow SECONDS] DESCRIPTOR``; the protocol is
that of ``launch/evaluate/vllm_main.py``. Task "pick": three of the prompt's digits, half of the
time in order.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time


def text_of(item: dict) -> str:
    rng = random.Random(item["seed"])
    digits = rng.sample(item["messages"][-1]["content"][:6], 3)
    return "".join(sorted(digits) if rng.random() < 0.5 else digits)


def reply(item: dict) -> dict:
    text = text_of(item)
    return {"id": item["id"], "text": text, "tokens": len(text) + 1, "truncated": item["seed"] % 8 == 0}


def main(options: list[str]) -> None:
    value = int(options[1]) if len(options) == 2 and options[0] == "--die-after" else None
    pause = float(options[1]) if options[:1] == ["--slow"] else 0.0
    items = json.load(sys.stdin)["items"]
    with open(int(sys.argv[-1]), "w") as pipe:
        if options == ["--refuse"]:
            print(json.dumps({"error": "the prompt has 300 tokens, 16 are allowed"}), file=pipe)
            return
        random.SystemRandom().shuffle(items)
        for count, item in enumerate(items):
            if count == value:
                pipe.flush()
                print("RuntimeError: the fake engine fell over", flush=True)
                os._exit(3)
            print(json.dumps(reply(item)), file=pipe, flush=random.random() < 0.3)
            time.sleep(pause)
        print(json.dumps({"end": True}), file=pipe)


if __name__ == "__main__":
    main(sys.argv[1:-1])
