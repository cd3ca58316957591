"""The report as Markdown and as one self-contained HTML file. Everything foreign is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cegppo_verl.reporting import palette, text
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.definitions import CHECKPOINT_POLICY, METRICS
from cegppo_verl.reporting.examples import ArmExamples
from cegppo_verl.reporting.figures import Plot
from cegppo_verl.reporting.tables import Table


@dataclass(frozen=True)
class Section:
    """One scale: words, tables, figures, examples; ``sweeps`` are written to files by their own renderers."""

    study: Study
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    sweeps: tuple[Table, ...]
    plots: tuple[Plot, ...]
    examples: tuple[ArmExamples, ...]

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """What the page shows."""
        return (*self.tables, *self.sweeps)

    @property
    def notes(self) -> list[tuple[str, tuple[str, ...]]]:
        """What is damaged or missing, by run."""
        return [(run.name, run.notes) for run in self.study.runs if run.notes]


@dataclass(frozen=True)
class Page:
    """Everything a report shows; ``tables`` are those over all scales."""

    grid: str
    question: str
    hypothesis: str
    refuted_by: str
    command: str
    sections: Sequence[Section]
    tables: tuple[Table, ...] = ()

    def html(self) -> bytes:
        """One file: styles and figures inline, no script, nothing fetched."""
        return self._render("report.html.j2")

    def markdown(self) -> bytes:
        """For a repository's page; figures beside it."""
        return self._render("report.md.j2")

    def _render(self, template: str) -> bytes:
        rendered = (
            _environment()
            .get_template(template)
            .render(page=self, policy=CHECKPOINT_POLICY, definitions=METRICS, palette=palette)
        )
        return (rendered.strip() + "\n").encode("utf-8", "replace")


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
