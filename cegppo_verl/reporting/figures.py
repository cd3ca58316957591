"""The figures of a study: which panels, with which caption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cegppo_verl.records.derived import sha256
from cegppo_verl.reporting import panels, panels_anatomy, panels_final
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.canvas import LegendEntry, Panel, combined, inline, single
from cegppo_verl.reporting.numbers import AccuracyRow
from cegppo_verl.reporting.panels_final import Law
from cegppo_verl.reporting.scores.model import ScoreTable

NAMED = "forest"  # names its arms itself


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        name: file name without extension.
        caption: what is shown, bands explained.
        legend: the arms; empty where the figure names them itself.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[LegendEntry, ...]

    @cached_property
    def files(self) -> dict[str, bytes]:
        """By format: svg, png, pdf."""
        return combined(self.panels, self.legend, self.name)

    @cached_property
    def inline(self) -> list[str]:
        """A piece of SVG per panel, for the page."""
        pairs = zip(self.panels, self._singles, strict=True)
        return [
            inline(svg, f"{self.name}-{number}", panel.alt) for number, (panel, (svg, _)) in enumerate(pairs)
        ]

    @cached_property
    def drawn(self) -> str:
        """SHA-256 of what the figure shows, legend included: the same with any version of matplotlib."""
        shown = {"panels": [s for _, s in self._singles], "legend": [entry.text for entry in self.legend]}
        return sha256(json.dumps(shown, sort_keys=True).encode("utf-8", "replace"))

    @cached_property
    def _singles(self) -> list[tuple[bytes, dict[str, object]]]:
        """Per panel its SVG and what it shows: two questions, one drawing."""
        return [single(panel, f"{self.name}-{number}") for number, panel in enumerate(self.panels)]

    @property
    def alt(self) -> str:
        """What the figure shows, in words."""
        return " ".join(panel.alt for panel in self.panels)


def study_plots(
    study: Study,
    accuracy: Sequence[AccuracyRow],
    found: dict[str, list[Law]],
    sweeps: Sequence[ScoreTable],
    suffix: str = "",
) -> tuple[list[Plot], list[str]]:
    """The figures, and the titles of those that nothing was recorded for.

    Args:
        found: entropy and accuracy by benchmark, as ``panels_final.laws`` has them.
    """
    legend = tuple(panels.legend(study))
    plots = [
        Plot(f"{name}{suffix}", title, caption, tuple(drawn), () if name == NAMED else legend)
        for name, title, caption, drawn in (*_over_steps(study), *_final(study, accuracy, found))
    ]
    plots += _sweeps(sweeps, suffix)
    shown = [plot for plot in plots if plot is plots[0] or not all(panel.empty for panel in plot.panels)]
    return shown, [plot.title for plot in plots if plot not in shown]


_Parts = tuple[str, str, str, Sequence[Panel]]


def _over_steps(study: Study) -> list[_Parts]:
    lines = _lines(study) + _pale(study)
    said = lines[0].upper() + lines[1:]
    accuracy = [panels.accuracy_panel(study, name) for name in study.benchmarks]
    return [
        (
            "accuracy-entropy",
            "Accuracy and entropy",
            f"{_accuracy_bars(study)} Entropy: {lines}",
            [*accuracy, panels.entropy_panel(study)],
        ),
        (
            "stability",
            "Divergence and gradient norm",
            f"KL by the estimator −log δ, mean over the tokens of all updates of a step; gradient norm as "
            f"verl logs it. {said}",
            panels.stability_panels(study),
        ),
        (
            "clip-anatomy",
            "Clip anatomy",
            "Trained tokens outside the clip interval per side, those of them to which PPO-clip gives no "
            f"gradient, and the share of Σ|w·Â| that lies outside. {said}",
            panels_anatomy.clip_panels(study),
        ),
        (
            "probability-classes",
            "Probability and ratio",
            "Large: mean over finished seeds of each run's share over all of training; dots: the runs. "
            "Whether clipped tokens are the improbable ones is read off the left: compare with “all tokens”.",
            panels_anatomy.class_panels(study),
        ),
        (
            "log-ratio",
            "Spread of the ratio",
            "Quantiles over all tokens and updates of a step, from a histogram whose bins are at most half "
            f"as wide as their place; effective sample size of the importance weights. {said}",
            panels_anatomy.ratio_panels(study),
        ),
        (
            "rollout-trainer",
            "Rollout against trainer",
            "Mean absolute difference between the probabilities that the rollout engine and the trainer give "
            f"to the sampled tokens. {said}",
            [panels.difference_panel(study)],
        ),
    ]


def _final(study: Study, accuracy: Sequence[AccuracyRow], found: dict[str, list[Law]]) -> list[_Parts]:
    over = _interval(study)
    return [
        (
            NAMED,
            "Differences to the baseline",
            f"Final accuracy, paired per problem; bars: 95 % bootstrap intervals over {over}. "
            "An interval that crosses the line does not tell the two apart.",
            [panels_final.forest_panel(study, name, accuracy) for name in study.benchmarks],
        ),
        (
            "entropy-accuracy",
            "Entropy and accuracy",
            "A marker per evaluation, mean over finished seeds, against the entropy logged at that step "
            "(step 0: the first one logged). Lines: least squares of R = b − a·exp(H) (arXiv 2505.22617), "
            "where an arm has four evaluations; the table has a and b with intervals.",
            [panels_final.law_panel(name, found.get(name, [])) for name in study.benchmarks],
        ),
        (
            "cost",
            "Cost and accuracy",
            f"Final accuracy with 95 % bootstrap intervals over {over}, against the sum of timing_s/step, "
            "mean over seeds: what the machine of these runs took, without start-up and the evaluation at "
            "step 0.",
            [panels_final.cost_panel(study, name, accuracy) for name in study.benchmarks],
        ),
    ]


def _sweeps(tables: Sequence[ScoreTable], suffix: str = "") -> list[Plot]:
    """A figure per pair of knobs: a heat map per table and slice."""
    pairs = dict.fromkeys((table.columns[0].partition(" = ")[0], table.stub) for table in tables)
    found = []
    for across, down in pairs:
        own = [t for t in tables if (t.columns[0].partition(" = ")[0], t.stub) == (across, down)]
        drawn = [panel for table in own for panel in panels_final.sweep_panels(table)]
        caption = (
            "One colour scale per quantity, from its lowest to its highest number. The tables have the "
            "intervals. “–”: not in the grid, or no number."
        )
        name, title = f"sweep-{down}-{across}{suffix}", f"Sweep of {down} and {across}"
        found.append(Plot(name, title, caption, tuple(drawn), ()))
    return found


def _accuracy_bars(study: Study) -> str:
    if len(study.arms) > panels.MOST_BARS:
        return (
            f"Accuracy: intervals are in the table; of more than {panels.MOST_BARS} arms no bars are drawn."
        )
    apart = "; points are set apart sideways to be seen"
    return f"Accuracy: bars are 95 % bootstrap intervals over {_interval(study)}{apart}."


def _interval(study: Study) -> str:
    return "problems and samples (1 seed per arm)" if study.most_seeds <= 1 else "seeds, problems and samples"


def _lines(study: Study) -> str:
    total = max(arm.total_steps for arm in study.arms)
    mean = f"a centred moving mean over {panels.window(total)} steps (at the ends a line fitted to as many)"
    smooth = f"thin lines are the raw values, thick ones {mean}"
    size = -(-total // panels.most_points(study))
    coarse = f" Each point is the mean over {size} successive steps." if size > 1 else ""
    if study.most_seeds <= 1:
        return f"{smooth}; 1 seed per arm, so there is no band over seeds.{coarse}"
    few = ", too narrow with fewer than 5 seeds" if study.most_seeds < 5 else ""
    alone = (
        f"; arms with a single finished seed: {smooth}"
        if any(len(a.finished) == 1 for a in study.arms)
        else ""
    )
    thin = ", thin lines single seeds" if len(study.runs) <= panels.MOST_THIN else ""
    crowded = len(study.arms) > panels.CROWDED
    bands = (
        f"no bands with more than {panels.CROWDED} arms"
        if crowded
        else f"bands 95 % bootstrap intervals over seeds{few}"
    )
    return f"lines are means over seeds, unsmoothed, {bands}{thin}{alone}.{coarse}"


def _pale(study: Study) -> str:
    drawn = [run for arm in study.arms for run in arm.unfinished if run.metrics.last_step is not None]
    return " Pale: runs that are not finished." if drawn else ""
