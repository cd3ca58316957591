"""Several engines side by side, each a subprocess of a Ray task that holds its GPUs. Imports Ray lazily."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.launch import processes
from cegppo_verl.launch.evaluate.engine import END_SECONDS, Json, ProcessEngine, Start


class RayEngines:
    """One task per engine; the model's folder must be visible on every node.

    Args:
        starts, requests: one each per engine. gpus: of each engine, on one node.
    """

    def __init__(self, starts: Sequence[Start], requests: Sequence[Json], gpus: int) -> None:
        import ray

        self._starts = starts
        if not ray.is_initialized():
            _connect(logical=gpus * len(starts))
        # Not tried again by Ray: what an engine had answered would be answered twice.
        task = ray.remote(num_gpus=gpus, num_cpus=1, max_retries=0, num_returns="streaming")(_work)
        self._streams = [task.remote(s, r) for s, r in zip(starts, requests, strict=True)]

    def batches(self) -> Iterator[list[Json]]:
        """Replies of all engines as they come.

        Raises:
            UserError: what the first engine that fails reports.
        """
        import ray

        open_streams = list(self._streams)
        while open_streams:
            ready, _ = ray.wait(open_streams, num_returns=1, fetch_local=False)
            batch = _next(ready[0])
            if batch is None:
                open_streams.remove(ready[0])
            else:
                yield _checked(batch)

    def close(self) -> None:
        """End the tasks with their engines."""
        import ray

        for stream in self._streams:
            with contextlib.suppress(Exception):  # it may be over
                ray.cancel(stream, force=True)
        ray.shutdown()
        left = processes.with_descendants(processes.marked(self._starts[0].mark))
        processes.end(left, END_SECONDS)


def _connect(logical: int) -> None:
    """To the cluster at RAY_ADDRESS, else a private one; without GPU drivers its GPUs are only numbers."""
    import ray

    if os.environ.get("RAY_ADDRESS"):
        ray.init(address="auto", log_to_driver=False)
        return
    gpus = None if os.environ.get("CUDA_VISIBLE_DEVICES") or _has_driver() else logical
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=logical, num_gpus=gpus)


def _has_driver() -> bool:
    from cegppo_verl.launch.environment_checks.accelerators import gpu_names

    return bool(gpu_names())


def _work(start: Start, requests: Json) -> Iterator[list[Json]]:
    """In a Ray worker: run the engine, hand its replies on."""
    start.log.parent.mkdir(parents=True, exist_ok=True)
    engine = ProcessEngine(start, requests)
    try:
        yield from engine.batches()
    except UserError as error:
        yield [{"error": error.message, "hint": error.hint, "file": str(error.file)}]
    finally:
        engine.close()


def _next(stream: Any) -> list[Json] | None:
    """The next batch; None at the end.

    Raises:
        UserError: the worker or its node died.
    """
    import ray

    try:
        return ray.get(next(stream))
    except StopIteration:
        return None
    except ray.exceptions.RayError as error:
        text = str(error).strip().splitlines()[-1:]
        hint = "the same command goes on where it stopped"
        raise UserError(f"an engine's Ray worker died: {' '.join(text)[:300]}", hint=hint) from error


def _checked(batch: list[Json]) -> list[Json]:
    if "error" in batch[0]:
        raise UserError(batch[0]["error"], file=batch[0].get("file"), hint=batch[0].get("hint"))
    return batch
