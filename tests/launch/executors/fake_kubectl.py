"""A ``kubectl`` that keeps RayJobs in a folder: as much of it as the executor asks for, and ways to fail.

State lies in the folder ``$FAKE_KUBECTL``: ``calls.jsonl`` (arguments, standard input), ``jobs/NAME.json``,
``cluster.json`` (what the cluster has) and ``fail.json``: ``{"VERB": {"code", "error", "out", "seconds"}}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

HOME = Path(os.environ.get("FAKE_KUBECTL", "."))


def main(arguments: list[str]) -> int:
    text = sys.stdin.read()
    with (HOME / "calls.jsonl").open("a") as log:
        log.write(json.dumps({"arguments": arguments, "input": text}) + "\n")
    words = [word for word in arguments if not word.startswith("-")]
    options = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
    failure = json.loads((HOME / "fail.json").read_text()).get(words[0])
    if failure is not None:
        time.sleep(failure.get("seconds", 0))
        print(failure.get("out", ""), end="")
        print(failure.get("error", ""), file=sys.stderr)
        return int(failure.get("code", 1))
    return {
        "api-resources": api_resources,
        "auth": can_i,
        "config": current_context,
        "create": create,
        "delete": delete,
        "get": get,
    }[words[0]](words[1:], options, text)


def cluster() -> dict[str, Any]:
    return json.loads((HOME / "cluster.json").read_text())


def job_file(name: str) -> Path:
    return HOME / "jobs" / f"{name}.json"


def complain(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


def api_resources(words: list[str], options: dict[str, str], text: str) -> int:
    print("\n".join(cluster()["kinds"]))
    return 0


def can_i(words: list[str], options: dict[str, str], text: str) -> int:
    allowed = words[1] in cluster()["rights"]
    print("yes" if allowed else "no")
    return 0 if allowed else 1


def current_context(words: list[str], options: dict[str, str], text: str) -> int:
    if cluster()["context"] is None:
        return complain("error: current-context is not set")
    print(cluster()["context"])
    return 0


def create(words: list[str], options: dict[str, str], text: str) -> int:
    job = yaml.safe_load(text)
    name = job["metadata"]["name"]
    if job_file(name).exists():
        place = f'rayjobs.ray.io "{name}" already exists'
        return complain(f'Error from server (AlreadyExists): error when creating "STDIN": {place}')
    job_file(name).write_text(json.dumps(job))
    print(f"rayjob.ray.io/{name}")
    return 0


def delete(words: list[str], options: dict[str, str], text: str) -> int:
    name = words[1]
    if not job_file(name).exists():
        return 0 if "ignore-not-found" in options else complain("Error from server (NotFound)")
    job = json.loads(job_file(name).read_text())
    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    job_file(name).write_text(json.dumps(job))  # --cascade=foreground: there until its pods have gone
    print(f'rayjob.ray.io "{name}" deleted')
    return 0


def get(words: list[str], options: dict[str, str], text: str) -> int:
    kind, *names = words
    if kind == "rayjobs.ray.io" and names:
        if not job_file(names[0]).exists():
            return complain(f'Error from server (NotFound): rayjobs.ray.io "{names[0]}" not found')
        print(job_file(names[0]).read_text())
    elif kind == "rayjobs.ray.io":
        jobs = [json.loads(file.read_text()) for file in sorted((HOME / "jobs").glob("*.json"))]
        key = options["selector"]
        print(json.dumps({"items": [job for job in jobs if key in job["metadata"].get("labels", {})]}))
    elif kind not in cluster():
        return complain(f'error: the server doesn\'t have a resource type "{kind.partition(".")[0]}"')
    elif options["output"] == "name":
        print("\n".join(f"{kind}/{name}" for name in cluster()[kind]))
    else:
        print(json.dumps({"items": cluster()[kind]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
