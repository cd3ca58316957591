"""The Slurm executor without a Slurm: scripts, what Slurm's programs have answered, and refusals."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launch.executors.kuberay_cases import HOSTILE_VALUES
from launch.executors.slurm_cases import NodeSide, events, profile, task

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors import registry, slurm_check, slurm_client, slurm_script
from cegppo_verl.launch.executors.base import JobState, JobStatus, NameTakenError, SubmitError
from cegppo_verl.launch.executors.slurm import SlurmExecutor
from cegppo_verl.launch.executors.slurm_script import render

TEMPLATE = Path(slurm_script.__file__).parent / "templates" / slurm_script.OWN
RUN = '/lustre/runs/it\'s a "run"; $(touch x) `id` & #1 100%/π-seed1'
FULL: dict[str, Any] = {
    "partition": "gpu,long",
    "account": "my project",
    "qos": "normal",
    "time_limit": "1-00:00:00",
    "constraint": "[a100|h100]",
    "cpus_per_gpu": 8,
    "memory": "512G",
    "gres_name": "gpu:h100",
    "extra": ["--exclusive", "--mail-type=FAIL"],
    "setup": ["module load cuda/12.8"],
    "environment": {"HF_HOME": "/x y"},
}
# squeue of Slurm 22.05 with the widths that we ask for.
QUEUE = [
    ("1", "CANCELLED", "1792", "cegppo-a-1", "None"),
    ("3", "PENDING", "0", "cegppo-b-1", "launch failed requeued held"),
    ("4", "RUNNING", "0", "cegppo-c-1", "None"),
    ("5", "COMPLETING", "0", "cegppo-d-1", "None"),
    ("6", "OUT_OF_MEMORY", "9", "cegppo-e-1", "OutOfMemory"),
]


def line(*values: str) -> str:
    return "".join(
        value.ljust(width) for value, width in zip(values, slurm_client._WIDTHS.values(), strict=True)
    )


def scripts() -> dict[str, str]:
    full = profile(**FULL)
    return {
        "one node": render(task("/runs/a"), profile()),
        "many nodes": render(task("/runs/a", nodes=4), full),
        "hostile": render(task(RUN, nodes=2, environment=HOSTILE_VALUES), full),
        "no requeue": render(task("/runs/a", platform="cpu"), profile(requeue=False)),
    }


@pytest.mark.parametrize("name", scripts())
def test_scripts_are_bash(name: str) -> None:
    script = scripts()[name]
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    if shutil.which("shellcheck"):
        # SC2016, SC2317: a `$` kept from the shell, and functions called by name, are both meant.
        command = ["shellcheck", "--exclude=SC2016,SC2317", "-"]
        done = subprocess.run(command, input=script, text=True, capture_output=True)
        assert done.stdout == ""


def test_every_option_of_the_profile_is_in_the_script() -> None:
    said = re.findall(r"^#SBATCH (.*)", scripts()["many nodes"], re.MULTILINE)
    assert said == [
        "--job-name=cegppo-0123456789ab-1",
        "--comment=grpo__toy-xs__seed1",
        "--chdir=/runs/a",
        "--output=/runs/a/slurm-%j.out",
        "--nodes=4",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--mem=512G",
        "--gres=gpu:h100:1",
        "--partition=gpu,long",
        '--account="my project"',
        "--qos=normal",
        "--time=1-00:00:00",
        "--constraint=[a100|h100]",
        "--signal=B:USR1@120",
        "--open-mode=append",
        "--requeue",
        "--exclusive",
        "--mail-type=FAIL",
    ]


def test_a_cpu_cell_asks_for_no_gpu_and_one_node_for_no_ray() -> None:
    script = scripts()["no requeue"]
    assert "--gres" not in script
    assert "ray start" not in script
    assert "scripts start" not in script
    assert "--no-requeue" in script
    assert "scontrol requeue" not in script
    assert "--signal=B:TERM@120" in script


@pytest.mark.parametrize(("priority", "nice"), [(-7, 7), (0, 0), (3, 0)])
def test_a_larger_priority_never_waits_longer(priority: int, nice: int) -> None:
    assert slurm_script.niceness(priority) == nice
    said = slurm_script.options(task("/a", priority=priority), profile())
    assert [option for option in said if "nice" in option] == ([f"--nice={nice}"] if nice else [])


def test_the_script_hands_on_variables_and_the_exit_code(tmp_path: Path) -> None:
    """The script of one node, executed without Slurm."""
    node = NodeSide(tmp_path)
    run = node.run('it\'s a "run" $(id) 100%', code=3)
    given = {key: value for key, value in HOSTILE_VALUES.items() if key != "UNICODE"}
    changes = {"python": str(node.python), "setup": ["export FROM_SETUP=$((1 + 1))"]}
    script = render(task(run, environment=given), profile(**changes))
    environment = {**os.environ, "SLURM_JOB_ID": f"test{os.getpid()}"}
    assert subprocess.run(["bash", "-c", script], env=environment).returncode == 3
    seen = events(run)[0]["environment"]
    assert {key: seen[key] for key in given} == given
    assert seen["FROM_SETUP"] == "2"
    assert not Path(seen["RAY_TMPDIR"]).exists()
    assert (
        len(f"{seen['RAY_TMPDIR']}/ray/session_2026-11-24_00-25-06_441489_4194304/sockets/plasma_store.1")
        <= 107
    )


def test_the_variables_are_those_that_the_template_documents() -> None:
    text = TEMPLATE.read_text()
    documented = dict(re.findall(r"^  (\w+)  +(\S.*)$", text[: text.index("#}")], re.MULTILINE))
    assert documented == slurm_script.VARIABLES
    assert set(slurm_script.variables(task("/a"), profile())) == set(slurm_script.VARIABLES)


def test_a_users_template_may_redefine_a_block(tmp_path: Path) -> None:
    own = tmp_path / "slurm.sh.j2"  # the same name as ours
    own.write_text(
        '{% extends "cegppo/slurm.sh.j2" %}{% block finish %}\necho {{ slug | quote }}\n{% endblock %}'
    )
    script = render(task("/a"), profile(template=str(own)))
    assert 'echo grpo__toy-xs__seed1\nrm -rf "$RAY_TMPDIR"' in script
    assert script.replace("echo grpo__toy-xs__seed1\n", "") == render(task("/a"), profile())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/bash\n{{ partitoin }}\n", r"'partitoin' is undefined \(line 2\)"),
        ("#!/bin/bash\n\n{% for x in setup %}\n", r"\(line 3\)"),
        ("#!/bin/bash\n{{ nodes / 0 }}\n", r"division by zero \(line 2\)"),
        ("#!/bin/bash\n{{ nodes + name }}\n", r"unsupported operand .*\(line 2\)"),
        ("#!/bin/bash\n{% include 'nothing' %}\n", r"nothing"),
        ("echo\n", "does not begin with '#!'"),
    ],
)
def test_a_wrong_template_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    own = tmp_path / "mine.sh.j2"
    own.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        render(task("/a"), profile(template=str(own)))
    assert caught.value.file == str(own)


def test_a_path_that_slurm_would_write_elsewhere_is_refused() -> None:
    with pytest.raises(UserError, match="backslash"):
        render(task("/runs/a\\b"), profile())


@pytest.mark.parametrize(
    ("text", "quoted"), [("a b", '"a b"'), ('"\\', '"\\"\\\\"'), ("", '""'), ("a#", '"a#"')]
)
def test_quoting_for_sbatch(text: str, quoted: str) -> None:
    assert slurm_script.quoted(text) == quoted


def test_recorded_answers_of_squeue() -> None:
    jobs = slurm_client.parse_queue("\n".join(line(*row) for row in QUEUE) + "\n")
    assert {job.name: job.status for job in jobs} == {
        "cegppo-a-1": JobStatus(JobState.ENDED, "CANCELLED", 7),
        "cegppo-b-1": JobStatus(JobState.QUEUED, "launch failed requeued held"),
        "cegppo-c-1": JobStatus(JobState.RUNNING, "RUNNING"),
        "cegppo-d-1": JobStatus(JobState.RUNNING, "COMPLETING"),
        "cegppo-e-1": JobStatus(JobState.ENDED, "OUT_OF_MEMORY", 137),
    }


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("COMPLETED", "0:0", JobStatus(JobState.ENDED, "COMPLETED", 0)),
        ("CANCELLED by 1000", "0:15", JobStatus(JobState.ENDED, "CANCELLED", 143)),
        ("TIMEOUT", "0:1", JobStatus(JobState.ENDED, "TIMEOUT", 129)),
        ("NODE_FAIL", "1:0", JobStatus(JobState.ENDED, "NODE_FAIL", 1)),
        ("PREEMPTED", "", JobStatus(JobState.ENDED, "PREEMPTED")),
        ("BOOT_FAIL", "0:0", JobStatus(JobState.ENDED, "BOOT_FAIL", 0)),
        ("DEADLINE", "0:0", JobStatus(JobState.ENDED, "DEADLINE", 0)),
        ("CONFIGURING", "0:0", JobStatus(JobState.QUEUED, "CONFIGURING")),
        ("REQUEUED", "0:0", JobStatus(JobState.QUEUED, "REQUEUED")),
        ("SUSPENDED", "0:0", JobStatus(JobState.QUEUED, "SUSPENDED")),
        ("A_NEW_WORD", "0:0", JobStatus(JobState.UNKNOWN, "A_NEW_WORD")),
        ("", "", JobStatus(JobState.UNKNOWN, "")),
    ],
)
def test_states(state: str, code: str, expected: JobStatus) -> None:
    assert slurm_client.status(state, code, None) == expected


def test_of_two_jobs_with_a_name_the_living_one_counts_then_the_newest() -> None:
    rows = [("10", "RUNNING"), ("12", "FAILED"), ("9", "FAILED")]
    jobs = slurm_client.parse_queue("\n".join(line(i, state, "0", "n", "None") for i, state in rows))
    assert slurm_client.by_name(jobs)["n"].id == "10"
    assert slurm_client.by_name(jobs[1:])["n"].id == "12"


FAKE = """#!{python}
import os, pathlib, sys
folder = pathlib.Path({folder!r})
name = pathlib.Path(sys.argv[0]).name
with (folder / "calls").open("a") as file:
    file.write(" ".join([name, *sys.argv[1:]]) + "\\n")
(folder / "environment").write_text("\\n".join(sorted(os.environ)))
answer = folder / (name + ".out")
error = folder / (name + ".err")
print(answer.read_text() if answer.exists() else "", end="")
if error.exists():
    sys.exit(error.read_text())
"""


class FakeSlurm:
    """Slurm's programs, answering from files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (*slurm_check.PROGRAMS, "sacct"):
            program = folder / name
            program.write_text(FAKE.format(python=sys.executable, folder=str(folder)))
            program.chmod(0o755)

    def says(self, program: str, answer: str = "", error: str | None = None) -> None:
        (self.folder / f"{program}.out").write_text(answer)
        (self.folder / f"{program}.err").unlink(missing_ok=True)
        if error is not None:
            (self.folder / f"{program}.err").write_text(error)

    def calls(self, program: str) -> list[str]:
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [call for call in lines if call.split()[0] == program]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return FakeSlurm(folder)


@pytest.fixture
def executor() -> SlurmExecutor:
    return SlurmExecutor(profile())


def run_in(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    return run


def test_what_the_controller_forgot_is_asked_of_the_accounting_in_one_call(
    slurm: FakeSlurm, executor: SlurmExecutor
) -> None:
    slurm.says("squeue", line(*QUEUE[2]))
    slurm.says("sacct", "7|x-1|NODE_FAIL|0:0\n8|x-2|CANCELLED by 1000|0:15\n")
    assert executor.statuses(["cegppo-c-1", "x-1", "x-2", "x-3"]) == {
        "cegppo-c-1": JobStatus(JobState.RUNNING, "RUNNING"),
        "x-1": JobStatus(JobState.ENDED, "NODE_FAIL", 0),
        "x-2": JobStatus(JobState.ENDED, "CANCELLED", 143),
        "x-3": JobStatus(JobState.ENDED),
    }
    assert len(slurm.calls("squeue")) == len(slurm.calls("sacct")) == 1


def test_without_accounting_a_forgotten_job_has_ended(slurm: FakeSlurm, executor: SlurmExecutor) -> None:
    slurm.says("sacct", error="Slurm accounting storage is disabled")
    assert executor.statuses(["x-1"]) == {"x-1": JobStatus(JobState.ENDED)}


def test_a_silent_controller_means_unknown(slurm: FakeSlurm, executor: SlurmExecutor) -> None:
    slurm.says("squeue", error="slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert {status.state for status in executor.statuses(["a", "b"]).values()} == {JobState.UNKNOWN}


def test_a_program_that_hangs_is_given_up(
    slurm: FakeSlurm, executor: SlurmExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm.folder / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(slurm_client, "TIMEOUT", 0.3)
    assert executor.statuses(["a"])["a"].state is JobState.UNKNOWN


def test_a_submission_is_recorded_in_the_run_directory(
    slurm: FakeSlurm, executor: SlurmExecutor, tmp_path: Path
) -> None:
    slurm.says("sbatch", "1234;cluster\n")
    one = task(run_in(tmp_path))
    assert executor.submit(one) == "1234"
    [(name, text)] = executor.files(one).items()
    assert (one.run.path / name).read_text() == text
    assert slurm.calls("sbatch") == [f"sbatch --parsable --job-name={one.name} {one.run.path / name}"]


@pytest.mark.parametrize("where", ["squeue", "sacct"])
def test_a_known_name_is_not_submitted(
    slurm: FakeSlurm, executor: SlurmExecutor, tmp_path: Path, where: str
) -> None:
    one = task(run_in(tmp_path))
    known = {"squeue": line("77", "FAILED", "256", one.name, "None"), "sacct": f"77|{one.name}|FAILED|1:0\n"}
    slurm.says(where, known[where])
    assert executor.submit(one) == "77"
    with pytest.raises(NameTakenError):  # nothing was handed over from this folder: it is of an earlier one
        executor.submit(replace(one, fresh=True))
    slurm.says("squeue", line("78", "RUNNING", "0", one.name, "None"))
    assert executor.submit(replace(one, fresh=True)) == "78"
    assert slurm.calls("sbatch") == []


@pytest.mark.parametrize(
    ("complaint", "passing"),
    [
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("Batch job submission failed: Socket timed out on send/recv operation", True),
        ("Batch job submission failed: Slurm temporarily unable to accept job, sleeping and retrying", True),
        ("QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
         "accounting/QOS policy (job submit limit, user's size and/or time limits)", True),
        ("Batch job submission failed: Invalid account or account/partition combination specified", False),
        ("Batch job submission failed: Requested node configuration is not available", False),
    ],
)  # fmt: skip
def test_refusals(
    slurm: FakeSlurm, executor: SlurmExecutor, tmp_path: Path, complaint: str, passing: bool
) -> None:
    slurm.says("sbatch", error=f"sbatch: error: {complaint}")
    with pytest.raises(SubmitError) as refused:
        executor.submit(task(run_in(tmp_path)))
    assert refused.value.passing is passing


def test_nothing_is_submitted_while_slurm_cannot_say_what_it_has(
    slurm: FakeSlurm, executor: SlurmExecutor, tmp_path: Path
) -> None:
    slurm.says("squeue", error="Unable to contact slurm controller")
    with pytest.raises(SubmitError) as refused:
        executor.submit(task(run_in(tmp_path)))
    assert refused.value.passing
    assert slurm.calls("sbatch") == []


def test_variables_that_would_overrule_the_script_are_kept_from_sbatch(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: Mapping[str, str] = dict.fromkeys(
        [
            "SBATCH_TIMELIMIT",
            "SBATCH_PARTITION",
            "SBATCH_NO_REQUEUE",
            "SLURM_JOB_ID",
            "SLURM_CONF",
            "SBATCH_ACCOUNT",
        ],
        "x",
    )
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    slurm.says("sbatch", "1\n")
    SlurmExecutor(profile(time_limit="1:00:00", partition="p")).submit(task(run_in(tmp_path)))
    seen = set((slurm.folder / "environment").read_text().split())
    assert seen & set(theirs) == {"SLURM_CONF", "SBATCH_ACCOUNT"}  # the profile says nothing of an account


def test_no_slurm_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="'sbatch' is not on PATH"):
        SlurmExecutor(profile()).check([task("/a")])


SINFO = """\
gpu*|1-00:00:00|4|gpu:h100:8(S:0-1),nvme:1|96|1000000+
gpu*|1-00:00:00|2|gpu:a100:4|64|500000
cpu|infinite|9|(null)|64|250000
"""


@pytest.mark.parametrize(
    ("changes", "needs", "message"),
    [
        ({"partition": "gpus"}, {}, "did you mean 'gpu'"),
        ({"gres_name": "gpu:a100"}, {"gpus": 8}, "needs 1 node\\(s\\) with 8 gpu:a100; partition gpu has 0"),
        ({}, {"gpus": 8, "nodes": 5}, "needs 5 node\\(s\\) with 8 gpu; partition gpu has 4"),
        ({"partition": "cpu"}, {}, "partition cpu has 0"),
        ({"memory": "1T"}, {}, "1T memory"),
        ({"cpus_per_gpu": 13}, {"gpus": 8}, "104 CPUs"),
        ({"time_limit": "24:00:01"}, {}, "beyond the limit.*\n.*at most 24:00:00"),
        ({"time_limit": "0:04:59"}, {}, "too short"),
    ],
)
def test_what_can_never_run(
    slurm: FakeSlurm, changes: dict[str, Any], needs: dict[str, Any], message: str
) -> None:
    slurm.says("sinfo", SINFO)
    with pytest.raises(UserError, match=message):
        SlurmExecutor(profile(**changes)).check([task("/a", **needs)])


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, {"gpus": 8, "nodes": 4}),
        ({}, {"gpus": 4, "nodes": 6}),
        ({"gres_name": None}, {"gpus": 100}),
        ({"partition": "cpu", "time_limit": "9-00:00:00"}, {"platform": "cpu", "gpus": 2}),
        ({"partition": "cpu,gpu", "time_limit": "9-00:00:00"}, {}),
        ({"time_limit": "24:00:00", "memory": "900G"}, {}),
    ],
)
def test_what_can_run(slurm: FakeSlurm, changes: dict[str, Any], needs: dict[str, Any]) -> None:
    slurm.says("sinfo", SINFO)
    SlurmExecutor(profile(**changes)).check([task("/a", **needs), task("/b", **needs)])
    assert len(slurm.calls("sbatch")) == 1  # one question per kind of need


def test_what_only_sbatch_knows(slurm: FakeSlurm, executor: SlurmExecutor) -> None:
    slurm.says("sinfo", SINFO)
    slurm.says(
        "sbatch", error="allocation failure: Invalid account or account/partition combination specified"
    )
    with pytest.raises(UserError, match=r"sbatch refuses such a job: .*Invalid account"):
        executor.check([task("/a")])
    # Also said while nodes are merely drained.
    slurm.says("sbatch", error="allocation failure: Requested node configuration is not available")
    executor.check([task("/a")])


def test_the_registry_makes_it() -> None:
    made = registry.make(profile())
    assert isinstance(made, SlurmExecutor)
    assert (made.name, made.detached, made.capacity()) == ("slurm", True, None)
