"""Calls of ``kubectl``: one context, bounded time, and answers that tell a refusal from silence."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors.profile import KubeRayProfile

REQUEST_SECONDS = 10  # for the API server to answer
CALL_SECONDS = 25.0  # for kubectl, which may ask a credentials helper first


@dataclass(frozen=True)
class Answer:
    """What a call printed. ``code`` is None when kubectl could not be run or did not return in time."""

    code: int | None
    out: str
    error: str

    @property
    def ok(self) -> bool:
        """Whether the call did what it was asked."""
        return self.code == 0

    def has(self, *words: str) -> bool:
        """Whether the complaint holds one of ``words``, case ignored."""
        return any(word.lower() in self.error.lower() for word in words)

    def complaint(self) -> str:
        """The last line of the complaint: kubectl's summary."""
        lines = [line.strip() for line in self.error.splitlines() if line.strip()]
        return lines[-1] if lines else f"kubectl ended with code {self.code} and said nothing"

    def json(self) -> Any:
        """The answer as JSON; None when it is not."""
        try:
            return json.loads(self.out)
        except ValueError:
            return None


class Kubectl:
    """``kubectl`` with a profile's context and namespace."""

    def __init__(self, profile: KubeRayProfile) -> None:
        self._profile = profile

    def __call__(self, *arguments: str, text: str | None = None) -> Answer:
        """Run it in the profile's namespace; ``text`` is its standard input."""
        context = [f"--context={self._context}"] if self._context else []
        options = [
            *context,
            f"--namespace={self._profile.namespace}",
            f"--request-timeout={REQUEST_SECONDS}s",
        ]
        return self._call([*options, *arguments], text)

    def require(self) -> None:
        """Raise :class:`UserError` when the program is not there."""
        if shutil.which(self._profile.kubectl) is None:
            hint = "install kubectl on the runner's machine, or write its path as 'kubectl:' in the profile"
            raise UserError(f"no program '{self._profile.kubectl}'", hint=hint)

    @cached_property
    def _context(self) -> str | None:
        # Asked once: somebody who changes the current context must not send a waiting runner elsewhere.
        if self._profile.context is not None:
            return self._profile.context
        answer = self._call(["config", "current-context"], None)
        return answer.out.strip() or None if answer.ok else None  # a pod has rights but no contexts

    def _call(self, arguments: list[str], text: str | None) -> Answer:
        try:
            done = subprocess.run(
                [self._profile.kubectl, *arguments],
                input=text or "",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=CALL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Answer(None, "", f"kubectl did not return within {CALL_SECONDS:g} s")
        except OSError as error:
            return Answer(None, "", f"kubectl cannot be run: {error.strerror}")
        return Answer(done.returncode, done.stdout, done.stderr)
