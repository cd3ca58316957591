"""Downloads from a hub on this machine: pinned commits, checksums, broken connections, kills, offline."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from data import samples
from data.fake_hub import COMMIT, serving
from rich.console import Console

from cegppo_verl.data import catalog
from cegppo_verl.data.fetch import Request, fetch
from cegppo_verl.errors import UserError

constants = pytest.importorskip("huggingface_hub.constants")
QUIET = Console(quiet=True)
N = 40
MATH = catalog.dataset("MATH")
GSM8K = catalog.dataset("GSM8K")


@pytest.fixture(autouse=True)
def online(tmp_path, monkeypatch):
    """The suite is offline as a whole; this hub is on the loopback interface."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


@pytest.fixture
def hub_of(tmp_path, monkeypatch):
    """A function that starts a hub with a set's files; it ends with the test."""
    running = []

    def start(item, revisions=None):
        folder = samples.repository(item.name, tmp_path / "served", N)
        server = serving(folder, item.repo, revisions or {item.revision, COMMIT, "main"})
        hub = server.__enter__()
        running.append(server)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        return hub

    yield start
    for server in running:
        server.__exit__(None, None, None)


def get(item, tmp_path, **other):
    return fetch(Request(item, tmp_path / "assets", **other), QUIET)


def refused(item, tmp_path, *told, **other):
    with pytest.raises(UserError) as error:
        get(item, tmp_path, **other)
    for word in told:
        assert word in str(error.value)
    assert error.value.hint
    assert not (tmp_path / "assets").exists()


def test_the_pinned_revision_is_downloaded_and_compared_with_the_hubs_checksum(tmp_path, hub_of):
    hub = hub_of(GSM8K)
    done = get(GSM8K, tmp_path)
    (source,) = done.sidecar["sources"]
    assert source["verified"] == "against the hub's checksum"
    assert (done.sidecar["problems"], done.sidecar["repo"]) == (N, GSM8K.repo)
    assert {path for _, path, _ in hub.seen} == {
        f"/datasets/{GSM8K.repo}/resolve/{GSM8K.revision}/{GSM8K.files[0]}"
    }


def test_a_branch_is_resolved_once_and_the_commit_recorded(tmp_path, hub_of):
    hub = hub_of(MATH)
    done = get(MATH, tmp_path, revision="main")
    assert (done.sidecar["revision"], done.sidecar["revision_asked"]) == (COMMIT, "main")
    asked = [path.split("/resolve/")[1].split("/")[0] for _, path, _ in hub.seen]
    assert asked.count("main") == 2, "HEAD and GET of the first file; the others are asked for by commit"
    assert set(asked) == {"main", COMMIT}


def test_an_unpinned_set_says_which_revision_it_took(tmp_path, hub_of):
    hub_of(GSM8K)
    free = GSM8K.model_copy(update={"revision": catalog.UNPINNED})
    console = Console(record=True, quiet=False, file=open(os.devnull, "w"))  # noqa: SIM115
    done = fetch(Request(free, tmp_path / "assets"), console)
    assert "no revision" in console.export_text()
    assert (done.sidecar["revision"], done.sidecar["revision_asked"]) == (COMMIT, "unpinned")


def test_a_wrong_revision_names_the_option(tmp_path, hub_of):
    hub_of(GSM8K)
    refused(GSM8K, tmp_path, "has no revision 'v9'", "--revision", revision="v9")


def test_a_repository_or_a_file_that_is_not_there(tmp_path, hub_of):
    hub_of(GSM8K)
    refused(catalog.dataset("AMC23"), tmp_path, "no data set math-ai/amc23", "HF_ENDPOINT")
    moved = GSM8K.model_copy(update={"files": ("main/other.parquet",)})
    refused(moved, tmp_path, "main/other.parquet: no such file at revision")


def test_a_hub_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    refused(GSM8K, tmp_path, "HF_ENDPOINT names a mirror, --from a local folder")


def test_a_broken_connection_is_taken_up_where_it_broke(tmp_path, hub_of, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64)  # of 10 MB, what is not whole is not kept
    hub = hub_of(GSM8K)
    hub.cut, hub.cuts = 640, 2
    assert get(GSM8K, tmp_path).sidecar["problems"] == N
    ranges = [asked for method, _, asked in hub.seen if method == "GET"]
    assert ranges == ["", "bytes=640-", "bytes=1280-"]


def test_a_connection_that_breaks_for_good_is_a_user_error(tmp_path, hub_of):
    hub = hub_of(GSM8K)
    hub.cut, hub.cuts = 0, 1000
    refused(GSM8K, tmp_path, "broke off", "the same command goes on")
    hub.cuts = 0
    assert get(GSM8K, tmp_path).fresh


def test_bytes_that_are_not_what_the_hub_states_are_refused(tmp_path, hub_of):
    hub = hub_of(GSM8K)
    hub.lie = True
    refused(GSM8K, tmp_path, "its checksum is not the hub's", "remove")


def test_a_mirror_that_answers_with_another_commit_is_refused(tmp_path, hub_of):
    hub_of(GSM8K).commit = COMMIT
    refused(GSM8K, tmp_path, f"answers with commit {COMMIT}, not {GSM8K.revision}", "HF_ENDPOINT")


def test_a_damaged_cache_is_noticed(tmp_path, hub_of):
    hub_of(GSM8K)
    done = get(GSM8K, tmp_path)
    done.file.unlink()
    (blob,) = (file for file in (tmp_path / "cache").rglob("blobs/*") if file.is_file())
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="its checksum is not the hub's"):
        get(GSM8K, tmp_path)


def test_offline_takes_the_cache_and_nothing_else(tmp_path, hub_of):
    hub = hub_of(GSM8K)
    refused(GSM8K, tmp_path, "is not in the cache, and this is offline", offline=True)
    assert hub.seen == []
    first = get(GSM8K, tmp_path)
    data = first.file.read_bytes()
    first.file.unlink()
    before = len(hub.seen)
    assert get(GSM8K, tmp_path, offline=True).file.read_bytes() == data
    assert len(hub.seen) == before


def test_upstream_cannot_change_under_the_same_revision(tmp_path, hub_of):
    hub = hub_of(GSM8K)
    get(GSM8K, tmp_path).file.unlink()
    shutil.rmtree(tmp_path / "cache")
    other = samples.repository("GSM8K", tmp_path / "other", N + 1) / GSM8K.files[0]
    hub.files[GSM8K.repo, GSM8K.files[0]] = other.read_bytes()
    with pytest.raises(UserError, match="its checksum changed"):
        get(GSM8K, tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from cegppo_verl.data import catalog
from cegppo_verl.data.fetch import Request, fetch
fetch(Request(catalog.dataset("MATH"), Path(sys.argv[1])), Console(quiet=True))
"""


def test_a_killed_fetch_goes_on_with_the_files_that_are_missing(tmp_path, hub_of):
    hub = hub_of(MATH)
    hub.stuck = MATH.files[3]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "assets")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        assert hub.stopped.wait(60)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "assets").exists()
    hub.stuck, before = "", len(hub.seen)
    done = get(MATH, tmp_path)
    assert done.sidecar["problems"] == N * len(MATH.files)
    again = [path for method, path, _ in hub.seen[before:] if method == "GET"]
    assert [path.partition(MATH.revision + "/")[2] for path in again] == list(MATH.files[3:])
