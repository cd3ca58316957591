"""What a manifest says of its origin, and what of the machine it must not say."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import cegppo_verl
from cegppo_verl.records import provenance

ROOTS = ("/home", "/root", "/tmp", "/work", "/usr", "/opt", "/mnt", "/data", "/Users")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a package of ours, committed."""
    for folder in ("cegppo_verl/losses", "ablations"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "cegppo_verl" / "__init__.py").write_text("")
    (tmp_path / "cegppo_verl" / "losses" / "mine.py").write_text("beta = 1\n")
    (tmp_path / "ablations" / "demo.yaml").write_text("name: demo\n")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".gitignore").write_text("__pycache__\nsite\n")
    for name in [n for n in os.environ if n.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
    monkeypatch.setattr(cegppo_verl, "__file__", str(tmp_path / "cegppo_verl" / "__init__.py"))
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_clean_checkout(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert provenance.git_state() == {"commit": commit, "dirty": False, "diff": "", "untracked": []}


@pytest.mark.parametrize("name", ["cegppo_verl/losses/mine.py", "ablations/demo.yaml"])
@pytest.mark.parametrize("staged", [False, True])
def test_a_change_is_recorded_wherever_the_run_is_started(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, staged: bool
) -> None:
    (checkout / name).write_text("beta = 2\n")
    if staged:
        git(checkout, "add", name)
    monkeypatch.chdir(checkout / "ablations")
    state = provenance.git_state()
    assert state is not None
    assert state["dirty"]
    assert f"b/{name}" in state["diff"]
    assert "+beta = 2" in state["diff"]


def test_a_new_file_makes_it_dirty_and_is_named(checkout: Path) -> None:
    (checkout / "cegppo_verl" / "losses" / "new.py").write_text("")
    (checkout / "cegppo_verl" / "__pycache__").mkdir()
    (checkout / "cegppo_verl" / "__pycache__" / "new.pyc").write_text("")
    state = provenance.git_state()
    assert state is not None
    assert (state["dirty"], state["untracked"]) == (True, ["cegppo_verl/losses/new.py"])


def test_files_that_cannot_change_the_numbers_do_not_make_it_dirty(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("changed")
    (checkout / "results.json").write_text("new")
    state = provenance.git_state()
    assert state is not None
    assert not state["dirty"]


def test_a_long_diff_is_cut_and_says_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MAX_DIFF", 100)
    (checkout / "cegppo_verl" / "losses" / "mine.py").write_text("x = 1\n" * 1000)
    state = provenance.git_state()
    assert state is not None
    assert state["dirty"]
    assert len(state["diff"]) < 200
    assert "cut, " in state["diff"].splitlines()[-1]


def test_outside_a_checkout_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(cegppo_verl, "__file__", str(tmp_path / "__init__.py"))
    assert provenance.git_state() is None


def test_installed_inside_another_projects_checkout_there_is_no_state(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = checkout / "site" / "cegppo_verl"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("")
    monkeypatch.setattr(cegppo_verl, "__file__", str(site / "__init__.py"))
    assert provenance.git_state() is None


def test_without_git_there_is_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state() is None


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("ablations/demo.yaml", "ablations/demo.yaml"),
        ("/home/me/demo.yaml", "demo.yaml"),
        ("--results=/scratch/me/runs", "--results=runs"),
        ("--results=~/runs", "--results=runs"),
        ("~/demo.yaml", "demo.yaml"),
        ("actor.lr=1e-6", "actor.lr=1e-6"),
        ("a=b=/c/d", "a=b=d"),
        ("/a=b/c", "c"),
        ("a/b", "a/b"),
    ],
)
def test_the_command_names_no_folder_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, word: str, kept: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/cegppo", "run", word])
    assert provenance.command() == ["cegppo", "run", kept]


def test_a_manifest_names_neither_folders_nor_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["run", str(Path.cwd() / "demo.yaml"), f"--results={Path.home()}/runs"]
    monkeypatch.setattr(sys, "argv", [sys.executable, *arguments])
    collected = provenance.collect()
    if collected["git"]:
        collected["git"]["diff"] = ""  # whatever the code says
    text = json.dumps(collected)
    assert not [
        root for root in (*ROOTS, str(Path.home()), sys.prefix) if f"{root}/" in text or f'"{root}' in text
    ]
    words = text.replace('"', " ").replace(",", " ").split()
    assert not {socket.gethostname(), platform.node()} & set(words)
    assert json.loads(text) == collected


def test_versions_and_hardware_are_of_this_process() -> None:
    versions, hardware = provenance.versions(), provenance.hardware()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == __import__("numpy").__version__
    assert versions["cegppo-verl"] == cegppo_verl.__version__
    assert set(versions) <= {"python", *provenance.PACKAGES}
    assert set(hardware) == {"processor", "cores", "memory_gib"}
    assert hardware["memory_gib"] > 0
