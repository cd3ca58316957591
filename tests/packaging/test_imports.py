"""Planning, watching and reporting work on a machine without torch, Ray, verl, vLLM and transformers."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = ("ray", "tensordict", "torch", "transfer_queue", "transformers", "verl", "vllm")
ROOMS = ("data", "experiment", "launch", "records", "reporting", "stats")
BLOCK = f"""
import importlib, pkgutil, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} must not be imported here")
sys.meta_path.insert(0, Block())
"""
WALK = """
def fail(name):
    raise
def walk(name):
    package = importlib.import_module(name)
    print(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), name + ".", onerror=fail):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK + WALK + code], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["cegppo_verl", "cegppo_verl.errors", "cegppo_verl.cli"])
def test_the_package_and_its_command_import_alone(name: str) -> None:
    result = run(f"importlib.import_module({name!r})")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_of_a_room_imports_without_the_training_stack(room: str) -> None:
    result = run(f"walk('cegppo_verl.{room}')")
    assert result.returncode == 0, f"after {result.stdout.splitlines()[-1:]}:\n{result.stderr}"
    assert len(result.stdout.splitlines()) > 1, "the walk found no module"


@pytest.mark.parametrize("name", BLOCKED)
def test_the_block_works(name: str) -> None:
    assert f"{name} must not be imported here" in run(f"import {name}").stderr
