"""What the runner tells the node side, as JSON in ``submission.json``: the same for every executor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cegppo_verl.launch.driver import Interpreter
from cegppo_verl.launch.follow import Limits

PRIVATE, INHERIT = "private", "inherit"


@dataclass(frozen=True)
class Request:
    """How an attempt is to be executed.

    Attributes:
        limits: when silence counts as a stall.
        early_stop: rules of the grid, JSON-ready.
        ray: "private" gives the driver a Ray cluster of its own; "inherit" joins the one at ``RAY_ADDRESS``,
            and is private where that is not set.
        interpreter: what runs the driver.
        command: what the person typed who started the runner, for the record.
    """

    limits: Limits = field(default_factory=Limits)
    early_stop: tuple[Mapping[str, Any], ...] = ()
    ray: str = PRIVATE
    interpreter: Interpreter = field(default_factory=Interpreter)
    command: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "early_stop": [dict(rule) for rule in self.early_stop]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """What :meth:`to_json` wrote; what is missing takes its default."""
        return cls(
            limits=Limits(**data.get("limits", {})),
            early_stop=tuple(data.get("early_stop", ())),
            ray=data.get("ray", PRIVATE),
            interpreter=Interpreter(**data.get("interpreter", {})),
            command=tuple(data.get("command", ())),
        )
