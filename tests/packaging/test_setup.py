"""requirements/setup.sh and repair.py, the Makefile and .ci/run, with stand-ins for python, pip and make."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# A python that succeeds at everything, writes down what pip was asked for, and fails on demand.
PYTHON = """#!/bin/sh
case "$*" in
  "-m pip install"*) echo "$*" >> calls
      [ -e fail ] && case "$*" in *" -r "*) echo "ERROR: no network"; exit 1;; esac ;;
  -VV|-V) echo "Python 3.11.7" ;;
esac
exit 0
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the files that set-up reads, and a virtual environment made of stand-ins."""
    for name in ("requirements/setup.sh", "requirements/repair.py", "pyproject.toml", "Makefile"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    lock = "pip==26.3\nsetuptools==80.9.0\ntorch==2.13.0\nvllm-cpu==0.28.0\n"
    (tmp_path / "requirements" / "cpu.lock").write_text(lock)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    write_program(tmp_path / ".venv" / "bin" / "python", PYTHON)
    return tmp_path


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if key not in {"VENV", "LOCK", "PYTHON"}}
    return subprocess.run(
        ["bash", "requirements/setup.sh"],
        cwd=checkout,
        env=variables | environment,
        capture_output=True,
        text=True,
    )


def pip_calls(checkout: Path) -> list[str]:
    file = checkout / "calls"
    calls = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return calls


def test_installs_the_tools_then_the_lock_then_the_package_never_resolving(checkout: Path) -> None:
    result = set_up(checkout)
    assert result.returncode == 0, result.stderr
    tools, lock, package = pip_calls(checkout)
    assert "pip==26.3 setuptools==80.9.0" in tools
    assert lock.endswith("-r requirements/cpu.lock")
    assert package.endswith("--editable .")
    assert all("--no-deps --no-build-isolation" in call for call in (tools, lock, package))


def test_a_second_run_does_nothing(checkout: Path) -> None:
    set_up(checkout)
    pip_calls(checkout)
    assert set_up(checkout).stdout == ""
    assert pip_calls(checkout) == []


@pytest.mark.parametrize("name", ["requirements/cpu.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_file_installs_again(checkout: Path, name: str) -> None:
    set_up(checkout)
    pip_calls(checkout)
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    set_up(checkout)
    assert len(pip_calls(checkout)) == 3


def test_a_failed_installation_says_why_and_is_taken_up_again(checkout: Path) -> None:
    (checkout / "fail").touch()
    result = set_up(checkout)
    assert result.returncode == 2
    assert "no network" in result.stderr
    assert "fix: " in result.stderr
    (checkout / "fail").unlink()
    pip_calls(checkout)
    assert set_up(checkout).returncode == 0
    assert len(pip_calls(checkout)) == 3


def test_an_environment_of_an_unsupported_python_is_left_alone(checkout: Path) -> None:
    python = PYTHON.replace("case", 'case "$*" in *version_info*) exit 1;; esac\ncase', 1)
    write_program(checkout / ".venv" / "bin" / "python", python.replace("3.11.7", "3.9.1"))
    result = set_up(checkout)
    assert (result.returncode, "made with Python 3.9.1" in result.stderr) == (2, True)
    assert "fix: remove it" in result.stderr
    assert pip_calls(checkout) == []


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path) -> None:
    (checkout / "data").mkdir()
    (checkout / "data" / "thesis.tex").touch()
    result = set_up(checkout, VENV="data")
    assert (result.returncode, "not a virtual environment" in result.stderr) == (2, True)
    assert (checkout / "data" / "thesis.tex").exists()


def test_a_python_that_does_not_work(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    result = set_up(checkout, PYTHON="/bin/false")
    assert (result.returncode, "PYTHON=/bin/false" in result.stderr) == (2, True)


def test_a_cuda_torch_is_refused_before_the_lock_is_installed(checkout: Path) -> None:
    cuda = """case "$*" in
      *'endswith("+cpu")'*) exit 1 ;;
      *metadata*) echo 2.13.0; exit 0 ;;
      *dry-run*) exit 0 ;;
    esac
    case"""
    python = PYTHON.replace("case", cuda, 1)
    write_program(checkout / ".venv" / "bin" / "python", python)
    result = set_up(checkout)
    assert result.returncode == 2
    assert "a CUDA build" in result.stdout
    assert not [call for call in pip_calls(checkout) if " -r " in call]


# --- repair


@pytest.fixture
def repair() -> ModuleType:
    spec = importlib.util.spec_from_file_location("repair", ROOT / "requirements" / "repair.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """One package, completely installed."""
    info = tmp_path / "demo-1.0.dist-info"
    info.mkdir()
    (tmp_path / "demo.py").write_text("x = 1\n")
    (info / "METADATA").write_text("Name: demo\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    rows = ("demo.py,sha256=x,6", f"{info.name}/METADATA,,", f"{info.name}/INSTALLER,,", "demo.pyc,,")
    (info / "RECORD").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_complete_package_stays(repair: ModuleType, site: Path) -> None:
    assert repair.repair(site) == []
    assert (site / "demo-1.0.dist-info").is_dir()


@pytest.mark.parametrize(
    "damage", ["no record", "wheel's record", "missing file", "truncated file", "garbage"]
)
def test_a_half_installed_package_is_made_to_be_installed_again(
    repair: ModuleType, site: Path, damage: str
) -> None:
    record = site / "demo-1.0.dist-info" / "RECORD"
    if damage == "no record":
        record.unlink()
    elif damage == "wheel's record":
        record.write_text("demo.py,sha256=x,6\n")
    elif damage == "missing file":
        (site / "demo.py").unlink()
    elif damage == "truncated file":
        (site / "demo.py").write_text("x")
    else:
        record.write_bytes(b"\xff\xfe\x00")
    assert repair.repair(site) == ["demo-1.0"]
    assert not (site / "demo-1.0.dist-info").exists()


def test_pips_own_remains_go(repair: ModuleType, site: Path) -> None:
    (site / "~emo").mkdir()
    repair.repair(site)
    assert not (site / "~emo").exists()


# --- Makefile and .ci/run


def test_clean_never_touches_results_or_reports() -> None:
    plan = subprocess.run(
        ["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert ".venv" in plan
    assert "results" not in plan
    assert "reports" not in plan


@pytest.mark.parametrize(
    ("output", "status", "expected", "last"),
    [
        ("==== 31 passed in 9.10s ====", 0, 0, "==== 31 passed in 9.10s ===="),
        ("==== 30 passed, 1 skipped in 9.10s ====", 0, 0, "==== 30 passed, 1 skipped in 9.10s ===="),
        ("==== 1 failed, 30 passed in 9.10s ====", 2, 2, "==== 1 failed, 30 passed in 9.10s ===="),
        ("==== no tests ran in 0.01s ====", 0, 1, "==== no tests ran in 0.01s ===="),
        ("==== 3 skipped in 0.01s ====", 0, 1, "==== 3 skipped in 0.01s ===="),
        ("Found 2 errors.", 2, 2, "ci: pytest did not get to its closing line"),
    ],
)
def test_ci_run(tmp_path: Path, output: str, status: int, expected: int, last: str) -> None:
    guard = '[ "$*" = test ] && [ "$CEGPPO_REQUIRE_PIPELINE" = 1 ] && [ -z "$PYTEST_ADDOPTS" ] || exit 9'
    write_program(tmp_path / "make", f"#!/bin/sh\n{guard}\necho '{output}'\nexit {status}\n")
    variables = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTEST_ADDOPTS": "-k nothing"}
    result = subprocess.run(["bash", ROOT / ".ci" / "run"], env=variables, capture_output=True, text=True)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (expected, last)


def test_the_pipeline_variable_is_the_one_the_gate_reads() -> None:
    import pipeline_gate

    assert f"{pipeline_gate.VARIABLE}=1" in (ROOT / ".ci" / "run").read_text("utf-8")
