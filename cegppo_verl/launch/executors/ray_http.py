"""A Ray cluster's dashboard over HTTP: the Jobs API and the State API, with a time limit on every question.

Not through Ray's own client: that needs Ray on the login node, follows ``RAY_ADDRESS`` instead of the
address it is given, sends no token unless ``RAY_AUTH_MODE=token`` is set, and waits without limit for a
dashboard that hangs, which would stop the runner.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cegppo_verl.launch.executors.base import SubmitError

_TIMEOUT = 20.0  # seconds; a list of thousands of jobs takes a while
_TOKEN_HINT = (
    "put the cluster's token into ~/.ray/auth_token (or RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH); "
    "on its head node `ray get-auth-token` prints it"
)


@dataclass(frozen=True)
class Answer:
    """What the dashboard said: HTTP status and text."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Whether the question was answered."""
        return self.status == 200

    def json(self) -> Any:
        """The text as data.

        Raises:
            SubmitError: refused, or not JSON: something else listens there.
        """
        if not self.ok:
            raise SubmitError(f"Ray answers {self.status}: {self.complaint()}", passing=self.status >= 500)
        try:
            return json.loads(self.text)
        except ValueError as error:
            hint = "check the address in the cluster profile; it is the dashboard's, e.g. http://head:8265"
            raise SubmitError(
                "what answers there is not a Ray dashboard", passing=False, hint=hint
            ) from error

    def complaint(self) -> str:
        """The line of a refusal that says why; Ray sends whole tracebacks."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip(" .")]
        said = [line for line in lines if "Error" in line.split(":")[0]]
        return (said or lines or ["without a word"])[-1][:300]


class Dashboard:
    """Asks one cluster.

    Args:
        address: ``http://host:port`` of the dashboard.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        # Ray's own clients send a token only in this mode; a cluster that asks for one is told it as well.
        self._sends_token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"

    def ask(self, method: str, path: str, body: Any = None, timeout: float = _TIMEOUT) -> Answer:
        """Ask once; twice when the cluster turns out to want a token.

        Raises:
            SubmitError: no answer (passing), or the token is missing or wrong (not passing).
        """
        answer = self._send(method, path, body, timeout)
        if answer.status == 401 and not self._sends_token:
            self._sends_token = True
            answer = self._send(method, path, body, timeout)
        if answer.status in (401, 403):
            problem = "wants a token, and there is none here" if answer.status == 401 else "refuses the token"
            raise SubmitError(f"the Ray at {self.address} {problem}", passing=False, hint=_TOKEN_HINT)
        return answer

    def _send(self, method: str, path: str, body: Any, timeout: float) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, self._headers(), method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            why = getattr(error, "reason", None) or error or type(error).__name__
            hint = (
                "is the cluster up, and does the profile name its dashboard (`ray start --head` prints it)?"
            )
            raise SubmitError(f"no Ray answers at {self.address}: {why}", passing=True, hint=hint) from error

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "cegppo-verl"}
        found = token() if self._sends_token else None
        return headers if found is None else {**headers, "Authorization": f"Bearer {found}"}


def token() -> str | None:
    """The cluster's token where Ray looks for it, in Ray's order; None without one."""
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return os.environ["RAY_AUTH_TOKEN"].strip()
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
