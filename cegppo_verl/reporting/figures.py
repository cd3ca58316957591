"""The figures of a study: which panels, with which caption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cegppo_verl.records.derived import sha256
from cegppo_verl.reporting import panels
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.canvas import LegendEntry, Panel, combined, drawn, inline, single


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        name: file name without extension.
        caption: what is shown, bands explained.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[LegendEntry, ...]

    @cached_property
    def files(self) -> tuple[bytes, bytes]:
        """SVG and PNG."""
        return combined(self.panels, self.legend, self.name)

    @cached_property
    def inline(self) -> list[str]:
        """A piece of SVG per panel, for the page."""
        names = [f"{self.name}-{number}" for number in range(len(self.panels))]
        return [inline(single(p, name), name, p.alt) for p, name in zip(self.panels, names, strict=True)]

    @cached_property
    def drawn(self) -> str:
        """SHA-256 of what the figure shows, legend included: the same with any version of matplotlib."""
        shown = {"panels": drawn(self.panels), "legend": [entry.text for entry in self.legend]}
        return sha256(json.dumps(shown, sort_keys=True).encode("utf-8", "replace"))

    @property
    def alt(self) -> str:
        """What the figure shows, in words."""
        return " ".join(panel.alt for panel in self.panels)


_DIFFERENCE = (
    "Mean absolute difference between the probabilities that the rollout engine and the trainer give to the "
    "sampled tokens."
)


def study_plots(study: Study, suffix: str = "") -> list[Plot]:
    """Accuracy and entropy side by side, clip anatomy, rollout against trainer."""
    legend = tuple(panels.legend(study))
    accuracy = [panels.accuracy_panel(study, name) for name in study.benchmarks]

    def plot(name: str, title: str, caption: str, drawn: Sequence[Panel]) -> Plot:
        return Plot(name + suffix, title, caption, tuple(drawn), legend)

    lines, pale = _lines(study), _pale(study)
    return [
        plot(
            "accuracy-entropy",
            "Accuracy and entropy",
            f"{_accuracy_bars(study)} Entropy: {lines}{pale}",
            [*accuracy, panels.entropy_panel(study)],
        ),
        plot(
            "clip-anatomy",
            "Clip anatomy",
            f"Share of trained tokens outside the clip interval, per side. {lines.capitalize()}{pale}",
            panels.anatomy_panels(study),
        ),
        plot(
            "rollout-trainer",
            "Rollout against trainer",
            f"{_DIFFERENCE} {lines.capitalize()}{pale}",
            [panels.difference_panel(study)],
        ),
    ]


def _accuracy_bars(study: Study) -> str:
    over = "problems and samples (1 seed per arm)" if study.most_seeds <= 1 else "seeds, problems and samples"
    return (
        f"Accuracy: bars are 95 % bootstrap intervals over {over}; points are set apart sideways to be seen."
    )


def _lines(study: Study) -> str:
    window = panels.window(max(arm.total_steps for arm in study.arms))
    mean = f"a centred moving mean over {window} steps (at the ends a line fitted to as many)"
    smooth = f"thin lines are the raw values, thick ones {mean}"
    if study.most_seeds <= 1:
        return f"{smooth}; 1 seed per arm, so there is no band over seeds."
    few = ", too narrow with fewer than 5 seeds" if study.most_seeds < 5 else ""
    alone = (
        f"; arms with a single finished seed: {smooth}"
        if any(len(a.finished) == 1 for a in study.arms)
        else ""
    )
    return f"lines are means over seeds, bands 95 % bootstrap intervals over seeds{few}{alone}."


def _pale(study: Study) -> str:
    drawn = [run for arm in study.arms for run in arm.unfinished if run.metrics.last_step is not None]
    return " Pale: runs that are not finished." if drawn else ""
