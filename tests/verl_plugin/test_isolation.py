"""Two runs share no name: neither TransferQueue's actors nor the sockets for weight transfer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cegppo_verl.verl_plugin import isolation, isolation_sources
from cegppo_verl.verl_plugin.isolation_sources import IsolationError


def run(code: str, token: str | None = None, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in (isolation.VARIABLE, "RAY_ADDRESS")}
    environment |= {"VERL_PLATFORM": "cpu", "CEGPPO_RUN": "1", "RAY_AUTH_MODE": "token"}
    environment |= {} if token is None else {isolation.VARIABLE: token}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, env=environment
    )


@pytest.fixture
def copies(tmp_path):
    """Copies of the sources that are checked, to be changed by a test."""
    verl = isolation_sources._folder("verl") / "workers" / "rollout"
    folders = []
    for source in (isolation_sources._folder("transfer_queue"), verl):
        folders.append(tmp_path / source.name)
        shutil.copytree(source, folders[-1], ignore=shutil.ignore_patterns("*.pyc", "__pycache__"))
    return folders


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_installed_sources_are_the_known_ones(copies):
    isolation_sources.require_known()
    isolation_sources.require_known(*copies)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("interface.py", 'namespace="transfer_queue"', 'namespace="tq"'),
        ("interface.py", ', namespace="transfer_queue"', ""),
        ("interface.py", "ray.get_actor(", "ray.util.get_actor("),
        ("storage/clients/ray_storage_client.py", 'namespace="transfer_queue"', "namespace=NAMESPACE"),
        ("client.py", "import os\n", 'import os\nimport ray\nA = lambda: ray.get_actor("x")\n'),
    ],
)
def test_other_names_in_transfer_queue_are_refused(copies, file, old, new):
    replace(copies[0] / file, old, new)
    with pytest.raises(IsolationError, match=r"verl 0\.\d.*TransferQueue 0\.\d.*named actors have changed"):
        isolation_sources.require_known(*copies)


def test_other_sockets_in_verl_are_refused(copies):
    file = copies[1] / "sglang_rollout" / "sglang_rollout.py"
    file.write_text(file.read_text() + '\nhandle = lambda rank: f"ipc:///tmp/other-{rank}"\n')
    with pytest.raises(IsolationError, match=r"sglang_rollout\.py"):
        isolation_sources.require_known(*copies)


def test_a_module_that_went_away_is_refused(copies):
    (copies[1] / "vllm_rollout" / "utils.py").unlink()
    with pytest.raises(IsolationError, match="sockets are named in"):
        isolation_sources.require_known(*copies)


def test_socket_names_fit_whatever_the_token_and_differ_by_it(monkeypatch):
    handle = "ipc:///tmp/rl-colocate-zmq-01000000-replica-123-rank-4567.sock"
    names = set()
    for token in ("a", "b", "table2-algorithms_ce-gppo_qwen3-8b_s3-0123456789ab-12-01234567" * 9):
        monkeypatch.setenv(isolation.VARIABLE, token)
        names.add(isolation.socket(handle))
        assert isolation.socket(handle).endswith("-01000000-replica-123-rank-4567.sock")
    assert len(names) == 3
    assert all(len(name.removeprefix("ipc://")) <= 107 for name in names)
    with pytest.raises(IsolationError, match="longer than 107"):
        isolation.socket(handle.replace("4567", "7" * 40))
    with pytest.raises(IsolationError, match="expected ipc:///tmp/rl-colocate"):
        isolation.socket("ipc:///tmp/other.sock")


def test_a_process_of_a_run_ends_when_it_cannot_be_isolated():
    """The plugin's entry, as verl loads it, over sources that have changed."""
    changed = (
        "import cegppo_verl.verl_plugin.isolation_sources as s; s._SOCKETS = {'gone.py': 1};"
        "import cegppo_verl.verl_plugin.entry"
    )
    done = run(changed, token="a")
    assert done.returncode == 1
    assert "runs cannot be kept apart with verl 0." in done.stderr


def test_without_a_token_nothing_is_checked_or_patched(monkeypatch):
    monkeypatch.setattr(isolation_sources, "_SOCKETS", {"gone.py": 1})
    monkeypatch.delenv(isolation.VARIABLE, raising=False)
    isolation.install()
    monkeypatch.setenv(isolation.VARIABLE, "a")
    with pytest.raises(IsolationError):
        isolation.install()


BOTH_ENDS = """
import json, os, types
os.environ.update(VERL_RAY_JOB_ID="01000000", VERL_REPLICA_RANK="3", RANK="0", RAY_LOCAL_WORLD_SIZE="1")
from verl.workers.rollout.vllm_rollout import utils, vllm_rollout
receiver = object.__new__(utils.vLLMColocateWorkerExtension)
receiver.local_rank, receiver.model_runner = 0, types.SimpleNamespace(vllm_config=None)

import ray
ray.get_runtime_context = lambda: types.SimpleNamespace(get_job_id=lambda: "01000000")
vllm_rollout.BaseRollout.__init__ = lambda self, config, *_: setattr(self, "config", config)
rollout = types.SimpleNamespace(
    tensor_model_parallel_size=1, data_parallel_size=1, pipeline_model_parallel_size=1,
    layered_summon=False, disaggregation=None,
)
sender = vllm_rollout.ServerAdapter(rollout, None, None, replica_rank=3)
print(json.dumps([sender.zmq_handle, receiver._get_zmq_handle()]))
"""


def test_sender_and_receiver_agree_on_the_socket(monkeypatch):
    """verl's own classes, imported under the plugin as in a run; neither vLLM nor Ray is started."""
    done = run(BOTH_ENDS, "a")
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv(isolation.VARIABLE, "a")
    name = isolation.socket("ipc:///tmp/rl-colocate-zmq-01000000-replica-3-rank-0.sock")
    assert json.loads(done.stdout.splitlines()[-1]) == [name, name]


CLUSTER = """
import os, ray, subprocess, sys
ray.init(address="local", num_cpus=16, include_dashboard=False, log_to_driver=False)
os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
drivers = [
    subprocess.Popen(
        [sys.executable, "-c", os.environ["RUN"]],
        env={**os.environ, "CEGPPO_ISOLATION": token}, text=True, **pipes,
    )
    for token in ("a", "b")
]
print([driver.stdout.readline().strip() for driver in drivers])
found = ray.util.list_named_actors(all_namespaces=True)
print(sorted(a["namespace"] for a in found if a["name"] == "TransferQueueController"), flush=True)
for driver in drivers:
    driver.communicate("end")
"""

RUN = """
import os, ray, sys
from cegppo_verl.verl_plugin import isolation
isolation.install()
variables = {name: os.environ[name] for name in ("CEGPPO_ISOLATION",)}
ray.init(address="auto", log_to_driver=False, runtime_env={"env_vars": variables})
import transfer_queue as tq
tq.interface._maybe_create_tq_storage = lambda conf: conf  # processes that have no fixed name
tq.interface._maybe_create_tq_client = lambda conf: None
@ray.remote(num_cpus=0)
def joined():
    from cegppo_verl.verl_plugin import isolation
    isolation.install()
    import transfer_queue.interface as interface
    interface._maybe_create_tq_client = lambda conf: None
    return interface._init_from_existing()
tq.init()
print("joined" if os.environ["CEGPPO_ISOLATION"] != "a" or ray.get(joined.remote()) else "alone", flush=True)
sys.stdin.read()
"""


def test_two_tokens_have_two_queues_on_one_cluster(monkeypatch):
    """Both drivers run at once; a task of the first one's finds its controller from another process."""
    monkeypatch.setenv("RUN", RUN)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    done = run(CLUSTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['joined', 'joined']", "['transfer_queue-a', 'transfer_queue-b']"]
