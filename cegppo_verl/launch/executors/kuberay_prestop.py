"""What Kubernetes runs in a head pod before it ends it: ``python -m … RUN_DIR``.

Ends the node side with SIGTERM and returns when it has gone, so that the pod's end does not overtake it.
"""

from __future__ import annotations

import sys
import time

import psutil

NODE_MODULE = "cegppo_verl.launch.node"
PATIENCE = 110.0  # seconds; below the pod's grace, after which everything is killed


def node_sides(run_directory: str) -> list[psutil.Process]:
    """Processes that execute ``-m cegppo_verl.launch.node RUN_DIR``."""
    tail = ["-m", NODE_MODULE, run_directory]
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[-3:] == tail
    ]


def main(arguments: list[str] | None = None, patience: float = PATIENCE) -> int:
    """End the node side of ``RUN_DIR``; 0 when it has gone, 1 when it outlived ``patience`` seconds."""
    (run_directory,) = sys.argv[1:] if arguments is None else arguments
    found = node_sides(run_directory)
    for process in found:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    deadline = time.monotonic() + patience
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found):
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
