"""The report as Markdown and as one self-contained HTML file. Everything foreign is escaped here."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cegppo_verl.reporting import palette, text
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.cells import as_json, sources
from cegppo_verl.reporting.definitions import CHECKPOINT_POLICY, METRICS
from cegppo_verl.reporting.examples import ArmExamples
from cegppo_verl.reporting.figures import Plot
from cegppo_verl.reporting.tables import Table

SCRIPT = "page.js.j2"


@dataclass(frozen=True)
class Aims:
    """What a grid file states: its name, question, hypothesis, and what would refute it."""

    name: str
    question: str
    hypothesis: str
    refuted_by: str


@dataclass(frozen=True)
class Section:
    """One scale.

    Attributes:
        sweeps: tables that are written to files by their own renderers.
        undrawn: titles of figures that nothing was recorded for.
        cells: of the drill-down, as ``cells.cells`` makes them.
        evaluation_notes: what is missing of final evaluations, by subject.
    """

    study: Study
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    sweeps: tuple[Table, ...]
    plots: tuple[Plot, ...]
    undrawn: tuple[str, ...]
    examples: tuple[ArmExamples, ...]
    cells: tuple[dict[str, Any], ...]
    evaluation_notes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """What the page shows."""
        return (*self.tables, *self.sweeps)

    @property
    def notes(self) -> list[tuple[str, tuple[str, ...]]]:
        """What is damaged or missing, by run."""
        return [*((run.name, run.notes) for run in self.study.runs if run.notes), *self.evaluation_notes]

    @property
    def sources(self) -> list[tuple[str, str, str, str, int]]:
        """Where the runs come from."""
        return sources(self.study)


@dataclass(frozen=True)
class Page:
    """Everything a report shows; ``tables`` are those over all scales."""

    aims: Aims
    command: str
    sections: Sequence[Section]
    tables: tuple[Table, ...] = ()

    def html(self) -> bytes:
        """One file: styles, figures, data and its one script inline; nothing is fetched."""
        script = _script()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        data = as_json([section.cells for section in self.sections])
        return self._render("report.html.j2", script=Markup(script), digest=digest, data=Markup(data))

    def markdown(self) -> bytes:
        """For a repository's page; figures beside it."""
        return self._render("report.md.j2")

    @property
    def commands(self) -> list[str]:
        """What to type to run the cells, write this report, and check it."""
        words = shlex.split(self.command)
        run = [shlex.join([words[0], "run", *words[2:]])] if words[1:2] == ["report"] else []
        return [*run, self.command, *([f"{self.command} --check"] if run else [])]

    def _render(self, template: str, **more: object) -> bytes:
        values = {"page": self, "policy": CHECKPOINT_POLICY, "definitions": METRICS, "palette": palette}
        rendered = _environment().get_template(template).render(**values, **more)
        return (rendered.strip() + "\n").encode("utf-8", "replace")


@lru_cache(maxsize=1)
def _script() -> str:
    """The page's script as it is: it holds no template code, and its hash is the only one allowed."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), SCRIPT)[0]


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cegppo_verl.reporting"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(md=text.markdown, visible=text.visible, code=_code)
    environment.filters["svg"] = Markup  # our own figures; matplotlib has escaped the labels in them
    return environment


def _code(line: str) -> str:
    """One line as an inline code span that its content cannot end."""
    flat = " ".join(text.visible(line).split())
    fence = "`" * (1 + max((len(run) for run in _backtick_runs(flat)), default=0))
    return f"{fence} {flat} {fence}" if "`" in flat else f"`{flat}`"


def _backtick_runs(line: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in line).split()
