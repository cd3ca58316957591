"""A CPU device for verl's platform registry (written against verl 0.9.1)."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    return None


def _memory_info(*_args: Any) -> tuple[int, int]:
    """(free, total) bytes, as ``torch.cuda.mem_get_info``: verl logs them beside every phase."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _resident_bytes(*_args: Any) -> int:
    return int(psutil.Process().memory_info().rss)


class CpuDeviceModule(types.ModuleType):
    """Looks like ``torch.cuda`` where verl calls it, and falls back on ``torch.cpu`` elsewhere."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(torch.cpu, name)


def _device_module() -> CpuDeviceModule:
    module = CpuDeviceModule("cegppo_verl_torch_cpu")
    # Caches, streams and peak counters belong to accelerators; on a CPU there is nothing to empty or wait
    # for.
    for name in [
        "empty_cache",
        "ipc_collect",
        "set_device",
        "synchronize",
        "reset_peak_memory_stats",
        "reset_max_memory_allocated",
    ]:
        setattr(module, name, _nothing)
    for name in ["max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"]:
        setattr(module, name, _resident_bytes)
    module.mem_get_info = _memory_info  # type: ignore[attr-defined]
    module.manual_seed = module.manual_seed_all = torch.manual_seed  # type: ignore[attr-defined]
    module.get_rng_state = lambda *_: torch.get_rng_state()  # type: ignore[attr-defined]
    module.set_rng_state = lambda state, *_: torch.set_rng_state(state)  # type: ignore[attr-defined]
    # A torch.device, not an index: verl moves tensors with `.to(current_device())`, and an int means CUDA.
    module.current_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    module.device_count = lambda: 1  # type: ignore[attr-defined]
    module.is_available = lambda: True  # type: ignore[attr-defined]
    module.get_device_name = lambda *_: "cpu"  # type: ignore[attr-defined]
    return module


class PlatformCPU(PlatformBase):
    """CPU as verl's accelerator. Select it with ``VERL_PLATFORM=cpu``."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:  # noqa: D102
        return True

    def current_device(self) -> Any:  # noqa: D102
        return torch.device("cpu")

    def device_count(self) -> int:  # noqa: D102
        return 1

    def set_device(self, device_index: int) -> None:  # noqa: D102
        return None

    def synchronize(self, device_index: int | None = None) -> None:  # noqa: D102
        return None

    def manual_seed(self, seed: int) -> None:  # noqa: D102
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:  # noqa: D102
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:  # noqa: D102
        return None

    def empty_cache(self) -> None:  # noqa: D102
        return None

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:  # noqa: D102
        return None, None

    def communication_backend_name(self) -> str:  # noqa: D102
        return "gloo"

    def visible_devices_envvar(self) -> str:  # noqa: D102
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        """Ray counts "GPU": verl's resource pools are in that unit, so Ray starts with logical ones."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:  # noqa: D102
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """No device IPC: weights travel through shared memory instead."""
        return False

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:  # noqa: D102
        yield

    def profiler_start(self) -> None:  # noqa: D102
        return None

    def profiler_stop(self) -> None:  # noqa: D102
        return None

    def cudart(self) -> Any:  # noqa: D102
        return None


def register() -> None:
    """Add the platform to verl's registry under the name ``cpu``."""
    PlatformRegistry.register(platform="cpu")(PlatformCPU)
