"""A grid's records in a notebook or a script: ``load_grid("ablations/demo.yaml").table()``.

Tables are pandas frames, figures show themselves in Jupyter, exports are one line each. Numbers are those of
``cegppo report``: same estimates, same intervals, same digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.launch import planning

if TYPE_CHECKING:
    import pandas as pd

    from cegppo_verl.experiment.grid import Grid
    from cegppo_verl.reporting.arms import Study
    from cegppo_verl.reporting.figures import Plot
    from cegppo_verl.reporting.runs import RunView


def load_grid(
    path: str | Path,
    *,
    scale: str | None = None,
    seeds: Sequence[int] | None = None,
    results: str | Path = "results/runs",
) -> GridView:
    """The runs of a grid file, finished or not.

    Args:
        scale, seeds: replace the file's own, as ``--scale`` and ``--seed`` do.

    Raises:
        UserError: the grid file is wrong.
    """
    grid, runs = planning.run_views(Path(path), scale, seeds, Path(results))
    return GridView(grid, tuple(runs))


@dataclass(frozen=True)
class GridView:
    """A grid and its runs."""

    grid: Grid
    runs: tuple[RunView, ...]

    @cached_property
    def studies(self) -> list[Study]:
        """The runs by scale and arm; the first arm is the baseline."""
        from cegppo_verl.reporting.arms import studies

        return studies(self.runs)

    def table(self) -> pd.DataFrame:
        """Final accuracy: a row per scale, benchmark and arm, with intervals and differences (0 to 1).

        A number that does not exist is NaN, and the column ``missing`` says why.
        """
        import pandas as pd

        from cegppo_verl.reporting import numbers
        from cegppo_verl.reporting.tables import accuracy_record

        rows = [
            {"scale": study.scale, **accuracy_record(row)}
            for study in self.studies
            for row in numbers.final_accuracy(study)
        ]
        return pd.DataFrame(rows).set_index(["scale", "benchmark", "arm"])

    def metrics(self, *keys: str) -> pd.DataFrame:
        """What was logged, one row per value: scale, arm, seed, step, key, value.

        Args:
            keys: only these; none means all.

        Raises:
            UserError: a key that no run has logged.
        """
        import pandas as pd

        known = {key for run in self.runs for key in run.metrics.keys()}  # noqa: SIM118, no dict
        for key in keys:
            if key not in known:
                raise UserError(f"no run has logged '{key}'", hint=did_you_mean(key, known))
        frames = [self._tagged(run, run.metrics.frame()) for run in self.runs]
        whole = pd.concat(frames, ignore_index=True).astype({"key": "str"})
        return whole[whole["key"].isin(keys)].reset_index(drop=True) if keys else whole

    def samples(self) -> pd.DataFrame:
        """Every graded sample of the evaluations during training, without its text."""
        import pandas as pd

        from cegppo_verl.records.samples import load_samples

        frames = [self._tagged(run, load_samples(run.run_dir).frame) for run in self.runs]
        return pd.concat(frames, ignore_index=True)

    def figures(self) -> dict[str, Figure]:
        """The report's figures by name."""
        from cegppo_verl.reporting.report import figures_of

        return {plot.name: Figure(plot) for plot in figures_of(self.studies)}

    def figure(self, name: str = "accuracy-entropy") -> Figure:
        """One figure.

        Raises:
            UserError: there is none of that name.
        """
        found = self.figures()
        if name not in found:
            raise UserError(f"no figure '{name}'", hint=did_you_mean(name, found))
        return found[name]

    def to_tensorboard(self, folder: str | Path) -> list[Path]:
        """One TensorBoard run per cell below ``folder``; needs the package tensorboard.

        Raises:
            UserError: a run's folder is there already.
        """
        from cegppo_verl.launch.export import tensorboard

        return [tensorboard(run, Path(folder)) for run in self.runs if run.metrics.last_step is not None]

    def to_wandb(self, project: str, **init: Any) -> list[str]:
        """One W&B run per cell; needs wandb. ``init`` goes to ``wandb.init``, e.g. mode="offline"."""
        from cegppo_verl.launch.export import wandb

        return [wandb(run, project, **init) for run in self.runs if run.metrics.last_step is not None]

    def _tagged(self, run: RunView, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(scale=run.scale, arm=run.arm, seed=run.seed)

    def _repr_html_(self) -> str:
        states = ", ".join(
            f"{run.arm} seed {run.seed}: {'done' if run.done else run.progress()}" for run in self.runs
        )
        return f"<b>{escape(self.grid.name)}</b>: {escape(self.grid.question)}<br>{escape(states)}"


@dataclass(frozen=True)
class Figure:
    """A figure that shows itself in Jupyter."""

    plot: Plot

    def save(self, path: str | Path) -> None:
        """Write it; the ending decides: .svg, .png or .pdf.

        Raises:
            UserError: another ending.
        """
        form = Path(path).suffix.removeprefix(".")
        if form not in self.plot.files:
            raise UserError(
                f"no figure as '{form}'", file=Path(path), hint="end the name in .svg, .png or .pdf"
            )
        Path(path).write_bytes(self.plot.files[form])

    def _repr_svg_(self) -> str:
        return self.plot.files["svg"].decode()

    def _repr_html_(self) -> str:
        return f"<figure>{self._repr_svg_()}<figcaption>{escape(self.plot.caption)}</figcaption></figure>"
