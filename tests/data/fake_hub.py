"""The part of the Hugging Face hub that a download needs, on this machine: HEAD, GET, ranges."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "1234567890abcdef1234567890abcdef12345678"


class Hub(ThreadingHTTPServer):
    """Serves ``files``: (repository, path) → bytes, at ``revisions``.

    ``cut``: break each connection after so many bytes of a body, as often as ``cuts`` says. ``lie``: state a
    checksum that the bytes do not have. ``stuck``: a path whose body stops half-way; ``stopped`` is
    set then. ``commit``: the one that every answer is of, instead of the one asked for.
    ``seen``: (method, path, Range header) of each request.
    """

    daemon_threads = True

    def __init__(self, files: dict[tuple[str, str], bytes], revisions: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.revisions = files, revisions
        self.seen: list[tuple[str, str, str]] = []
        self.cut, self.cuts, self.lie, self.stuck, self.commit = 0, 0, False, "", ""
        self.stopped, self.over = threading.Event(), threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        wanted = self.headers.get("Range", "")
        self.server.seen.append((self.command, self.path, wanted))
        repo, _, rest = self.path.removeprefix("/datasets/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if not any(known == repo for known, _ in self.server.files):
            self._refuse(404, "RepoNotFound")
        elif revision not in self.server.revisions:
            self._refuse(404, "RevisionNotFound")
        elif (repo, name) not in self.server.files:
            self._refuse(404, "EntryNotFound")
        else:
            commit = revision if len(revision) == len(COMMIT) else COMMIT
            self._send(self.server.files[repo, name], wanted, body, commit, stuck=name == self.server.stuck)

    def _refuse(self, code: int, why: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", why)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, wanted: str, body: bool, commit: str, *, stuck: bool) -> None:
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        stated = hashlib.sha256(b"something else" if self.server.lie else data).hexdigest()
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{stated}"')
        self.send_header("X-Repo-Commit", self.server.commit or commit)
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not body:
            return
        if stuck:
            self._part(data[: len(data) // 2])
            self.server.stopped.set()
            self.server.over.wait(60)
        elif self.server.cuts:
            self.server.cuts -= 1
            self._part(data[start : start + self.server.cut])
            self.connection.shutdown(2)
        else:
            self.wfile.write(data[start:])

    def _part(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path, repo: str, revisions: set[str]) -> Iterator[Hub]:
    """A hub that has the files below ``folder`` as the repository ``repo``."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {(repo, str(path.relative_to(folder))): path.read_bytes() for path in paths}
    hub = Hub(files, revisions)
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        hub.shutdown()
        hub.server_close()
        thread.join(10)
