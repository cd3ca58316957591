"""The Ray executor without Ray: what it hands over, what it makes of answers, and of their absence."""

from __future__ import annotations

import http.server
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.launch import conclude
from cegppo_verl.launch.causes import Kind
from cegppo_verl.launch.executors import ray_http, ray_nodes, ray_status
from cegppo_verl.launch.executors.base import (
    Capacity,
    JobState,
    JobStatus,
    NameTakenError,
    Need,
    SubmitError,
    Task,
)
from cegppo_verl.launch.executors.profile import RayProfile
from cegppo_verl.launch.executors.ray_jobs import RayExecutor
from cegppo_verl.launch.executors.ray_request import request
from cegppo_verl.records.rundir import RunDir


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server: Any = self.server
        server.asked.append((self.command, self.path, self.headers.get("Authorization")))
        status, body = server.answers(self)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    do_GET = do_POST = answer  # noqa: N815 (their names are http.server's)

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A dashboard whose ``answers(handler)`` returns a status and a body; it notes what it was asked."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def executor(server: Any, **changes: Any) -> RayExecutor:
    address = f"http://127.0.0.1:{server.server_port}/"
    return RayExecutor(RayProfile(executor="ray", address=address, **changes))


def task(tmp_path: Path, nodes: int = 2, gpus: int = 8, **changes: Any) -> Task:
    cell: Any = SimpleNamespace(id="0123456789ab", slug="a__s__seed1", grid="demo")
    run, need = RunDir(tmp_path / "a b's"), Need(nodes, gpus, "cuda")
    command = ("-m", "cegppo_verl.launch.node", str(run.path))
    return Task("cegppo-0123456789ab-1", cell, run, need, command, **changes)


def test_the_request_names_the_run_and_uploads_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/shared/code")
    profile = RayProfile(
        executor="ray", python="/env/bin/python", environment={"A": "1", "B": "1"}, metadata={"team": "x"}
    )
    body = request(task(tmp_path, environment={"B": "2"}), profile)
    assert shlex.split(body["entrypoint"]) == [
        *("exec", "/env/bin/python", "-m", "cegppo_verl.launch.node"),
        str(tmp_path / "a b's"),
    ]
    assert body["runtime_env"] == {
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "90", "PYTHONPATH": "/shared/code", "A": "1", "B": "2"}
    }
    assert body["metadata"]["team"] == "x"
    assert body["metadata"]["cegppo_need"] == "2x8"
    assert 0 < body["entrypoint_num_cpus"] <= 0.1


@pytest.mark.parametrize("setup", [[], ["X=$((1 + 1))"]])
def test_the_shell_passes_on_what_ray_would_expand(tmp_path, setup):
    """Ray replaces $HOME in a job's variables; the command itself is run here as Ray runs it."""
    value = "a '$HOME' \"`date`\" b"
    profile = RayProfile(executor="ray", python="python3", ray_address="10.0.0.1:6379", setup=setup)
    given = task(tmp_path, environment={"TEXT": value, "CEGPPO_ISOLATION": "a-1"})
    body = request(given, profile)
    assert "TEXT" not in body["runtime_env"]["env_vars"]
    assert body["runtime_env"]["env_vars"]["CEGPPO_ISOLATION"] == "a-1"
    code = "import os, sys; print(os.environ['TEXT'], os.environ['RAY_ADDRESS'], sys.argv[1], sep='|')"
    command = Task(given.name, given.cell, given.run, given.need, ("-c", code, "x  y"), given.environment)
    line = request(command, profile)["entrypoint"]
    printed = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    assert printed == f"{value}|10.0.0.1:6379|x  y\n"


def test_files_are_the_request_and_nobody_is_asked(server, tmp_path):
    given = task(tmp_path)
    files = executor(server).files(given)
    assert list(files) == ["cegppo-0123456789ab-1.json"]
    assert json.loads(files["cegppo-0123456789ab-1.json"])["submission_id"] == given.name
    assert server.asked == []


def test_the_token_is_sent_to_those_that_ask_for_it(server):
    server.answers = lambda handler: (200, []) if handler.headers["Authorization"] else (401, b"token?")
    ray = executor(server)
    for _ in range(2):
        assert ray.statuses(["a"]) == {"a": ray_status.FORGOTTEN}
    assert [token for _, _, token in server.asked] == [None, "Bearer secret", "Bearer secret"]


def test_a_token_that_is_missing_is_explained(server, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    server.answers = lambda _: (401, b"Unauthorized")
    with pytest.raises(SubmitError, match="wants a token, and there is none here") as caught:
        executor(server).check([])
    assert "RAY_AUTH_TOKEN" in str(caught.value)
    (tmp_path / "none").write_text("from-file\n")
    assert ray_http.token() == "from-file"


def test_a_dashboard_that_hangs_holds_nobody_up(server, monkeypatch):
    monkeypatch.setattr(ray_http, "_TIMEOUT", 0.3)
    monkeypatch.setattr("cegppo_verl.launch.executors.ray_jobs._CHECK_SECONDS", 0.3)
    monkeypatch.setattr(ray_http.Dashboard.ask, "__defaults__", (None, 0.3))
    server.answers = lambda _: (time.sleep(2), [])
    server.handle_error = lambda *_: None  # its answers come too late
    ray, began = executor(server), time.monotonic()
    assert ray.statuses(["a"])["a"].state is JobState.UNKNOWN
    assert ray.capacity() == Capacity((), ())
    with pytest.raises(SubmitError, match="timed out"):
        ray.check([])
    ray.cancel("a")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe"])
def test_something_else_that_listens_there_is_named(server, body):
    server.answers = lambda _: (200, body)
    with pytest.raises(UserError, match="not a Ray dashboard"):
        executor(server).check([])


@pytest.mark.parametrize(
    ("status", "text", "passing"),
    [
        (500, "No available agent to submit job, please try again later.", True),
        (
            500,
            "Traceback\nRuntimeError: Request failed with status code 400: T\nTypeError: bad env\n.",
            False,
        ),
        (400, "bad request", False),
        (502, "<html>Bad gateway</html>", True),
    ],
)
def test_a_refusal_says_why_and_whether_to_try_again(server, tmp_path, status, text, passing):
    server.answers = lambda handler: (status if handler.command == "POST" else 404, text.encode())
    with pytest.raises(SubmitError) as caught:
        executor(server).submit(task(tmp_path))
    assert caught.value.passing is passing
    assert ("TypeError: bad env" in str(caught.value)) is ("bad env" in text)


def test_a_submission_whose_answer_was_lost_is_found(server, tmp_path):
    given = task(tmp_path)
    known = {"metadata": request(given, executor(server).profile)["metadata"]}
    server.answers = lambda handler: (500, b"exists") if handler.command == "POST" else (200, known)
    assert executor(server).submit(given) == given.name
    known["status"] = "SUCCEEDED"
    assert executor(server).submit(given) == given.name
    with pytest.raises(NameTakenError):  # nothing was handed over from this folder: it is of an earlier one
        executor(server).submit(replace(given, fresh=True))
    known["status"] = "RUNNING"
    assert executor(server).submit(replace(given, fresh=True)) == given.name
    server.handle_error = lambda *_: None
    server.answers = lambda handler: (200, known) if handler.command == "GET" else None  # hangs up
    assert executor(server).submit(given) == given.name
    server.answers = lambda handler: (404, b"") if handler.command == "GET" else None
    with pytest.raises(SubmitError, match="no Ray answers") as caught:
        executor(server).submit(given)
    assert caught.value.passing


NODE_DIED = """Job supervisor actor died: The actor died unexpectedly before finishing this task.
\tclass_name: JobSupervisor
The actor died because its node has died. Node Id: aa05
\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats"""
NO_MEMORY = (
    "Job supervisor actor died: it failed.\nIts worker was killed, the node was running low on memory."
)


@pytest.mark.parametrize(
    ("job", "state", "kind"),
    [
        ({"status": "PENDING"}, JobState.QUEUED, None),
        ({"status": "RUNNING"}, JobState.RUNNING, None),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, JobState.ENDED, None),
        ({"status": "STOPPED"}, JobState.ENDED, Kind.USER_ERROR),
        ({"status": "FAILED", "message": NODE_DIED}, JobState.ENDED, Kind.NODE_LOST),
        ({"status": "FAILED", "message": NO_MEMORY}, JobState.ENDED, Kind.MEMORY),
        ({"status": "FAILED"}, JobState.ENDED, None),
    ],
)
def test_states_and_the_kind_of_cause_that_the_runner_reads(job, state, kind):
    found = ray_status.read(job)
    assert found.state is state
    assert conclude._kind(found.reason) is kind
    assert (found.reason is None) is (job["status"] in ("PENDING", "RUNNING", "SUCCEEDED"))


def test_the_log_of_a_job_is_no_reason():
    message = (
        "Job entrypoint command failed with exit code 1, last available logs (truncated):\nout of memory"
    )
    job = {"status": "FAILED", "message": message, "driver_exit_code": 1}
    found = ray_status.read({**job, "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR"})
    assert found == JobStatus(JobState.ENDED, "Job entrypoint command failed with exit code 1", 1)


def node(name: str, gpus: float, state: str = "ALIVE") -> dict[str, Any]:
    return {"raylet": {"nodeId": name, "state": state, "resourcesTotal": {"CPU": 8.0, "GPU": gpus}}}


def group(job: str, *places: tuple[str, float], state: str = "CREATED") -> dict[str, Any]:
    bundles = [{"node_id": name, "unit_resources": {"CPU": 1.0, "GPU": gpus}} for name, gpus in places]
    return {"state": state, "creator_job_id": job, "bundles": bundles}


def job(status: str, need: str | None, driver: str | None = None) -> dict[str, Any]:
    return {"status": status, "job_id": driver, "metadata": {"cegppo_need": need} if need else None}


NODES = [node("a", 8.0), node("b", 8.0), node("c", 2.0), node("d", 8.0, "DEAD"), node("e", 0.0)]
FREE = "0.0/8.0 CPU\n0.0/8.0 GPU\n0B/22.93GiB memory"


@pytest.mark.parametrize(
    ("report", "groups", "jobs", "free"),
    [
        pytest.param({"a": FREE}, [], [], (8, 8, 2), id="idle"),
        pytest.param({"a": "0.5/8.0 CPU\n1.5/8.0 GPU\n0B/1GiB memory"}, [], [], (8, 6, 2), id="fractions"),
        pytest.param(
            {"a": "0.25/8.0 GPU (0.25 used of 4.0 reserved in placement groups)"},
            [],
            [],
            (8, 4, 2),
            id="held",
        ),
        pytest.param({"a": FREE}, [group("01", ("a", 4.0))], [], (8, 4, 2), id="the report is late"),
        pytest.param({}, [group("01", ("c", 1.0), ("c", 1.0))], [], (8, 8, 0), id="no report"),
        pytest.param({}, [group("01", ("c", 2.0), state="PENDING")], [], (8, 8, 2), id="waiting group"),
        pytest.param({}, [], [job("PENDING", "2x8")], (0, 0, 2), id="starting"),
        pytest.param({}, [], [job("RUNNING", "1x2", "01")], (8, 8, 0), id="the tightest place"),
        pytest.param({}, [], [job("SUCCEEDED", "2x8"), job("RUNNING", None)], (8, 8, 2), id="not starting"),
        pytest.param(
            {}, [group("01", ("a", 8.0))], [job("RUNNING", "2x8", "01")], (0, 0, 2), id="half placed"
        ),
        pytest.param(
            {},
            [group("01", ("a", 8.0)), group("01", ("b", 8.0))],
            [job("RUNNING", "2x8", "01")],
            (0, 0, 2),
            id="placed",
        ),
    ],
)
def test_free_gpus_per_node(server, report, groups, jobs, free):
    answers = {
        "/nodes": {"data": {"summary": NODES, "nodeLogicalResources": report}},
        "/api/v0/placement_groups": {"data": {"result": {"result": groups}}},
        "/api/jobs/": jobs,
    }
    server.answers = lambda handler: (200, answers[handler.path.partition("?")[0]])
    assert ray_nodes.capacity(ray_http.Dashboard(f"http://127.0.0.1:{server.server_port}")) == Capacity(
        (8, 8, 2), free
    )


def test_capacity_is_asked_for_once_in_a_few_seconds_and_after_a_submission(server, tmp_path):
    answers = {
        "/nodes": {"data": {"summary": NODES, "nodeLogicalResources": {}}},
        "/api/v0/placement_groups": {"data": {"result": {"result": []}}},
        "/api/jobs/": [],
    }

    def answer(handler: Any) -> tuple[int, Any]:
        if handler.command == "POST":
            return 200, {"submission_id": "x"}
        return 200, answers[handler.path.partition("?")[0]]

    server.answers = answer
    ray = executor(server)
    assert ray.capacity() == ray.capacity() == Capacity((8, 8, 2), (8, 8, 2))
    assert len(server.asked) == 3
    ray.submit(task(tmp_path))
    ray.capacity()
    assert len(server.asked) == 7
