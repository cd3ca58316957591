"""verl's own CPU tests give the same outcome, test by test, with and without this plugin.

The files come from verl's source distribution: vendored_verl_tests/README.md. Each side runs in its own
process, because verl loads plugins once, when it is imported.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

import pytest

VENDORED = Path(__file__).parent / "vendored_verl_tests"
VENDORED_FROM = "0.9.1"

# Written next to the copies: proves, in the very process that runs them, on which side we are.
CONFTEST = """
from verl.trainer.ppo import core_algos

def pytest_sessionfinish(session):
    present = "cegppo" in core_algos.POLICY_LOSS_REGISTRY
    wrapped = hasattr(core_algos.POLICY_LOSS_REGISTRY["vanilla"], "__wrapped__")
    print(f"plugin: registered={present} wrapped={wrapped}")
"""


def outcomes(folder: Path, plugins: str) -> tuple[dict[str, str], str]:
    """{test: outcome} of all vendored tests with VERL_USE_EXTERNAL_PLUGINS=plugins, and what was printed."""
    folder.mkdir()
    for source in VENDORED.glob("*.py.txt"):
        shutil.copy(source, folder / source.stem)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    options = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:randomly", "--junitxml=outcome.xml"]
    env = os.environ | {"VERL_USE_EXTERNAL_PLUGINS": plugins, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", *options, "."]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    cases = ElementTree.parse(folder / "outcome.xml").iter("testcase")
    found = {f"{c.get('classname')}::{c.get('name')}": next((e.tag for e in c), "passed") for c in cases}
    return {k: "passed" if v.startswith("system-") else v for k, v in found.items()}, done.stdout


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verl_own_tests")
    return outcomes(folder / "without", "none"), outcomes(folder / "with", "cegppo_verl")


def test_the_vendored_tests_are_this_verls():
    assert version("verl") == VENDORED_FROM


def test_the_plugin_was_really_off_and_really_on(sides):
    (_, without), (_, with_plugin) = sides
    assert "plugin: registered=False wrapped=False" in without
    assert "plugin: registered=True wrapped=True" in with_plugin


def test_outcomes_are_the_same_with_and_without(sides):
    (without, _), (with_plugin, _) = sides
    assert with_plugin == without


def test_all_of_them_ran_and_passed(sides):
    for found, _ in sides:
        files = {name.split("::")[0].split(".")[0] for name in found}
        assert files == {path.name.removesuffix(".py.txt") for path in VENDORED.glob("*.py.txt")}
        assert len(found) >= 100
        assert set(found.values()) == {"passed"}
