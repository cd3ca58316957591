"""What each figure draws is what was written: lines, dots, bars and words, from counts of known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic import REGIONS, FakeRun

from cegppo_verl.records.anatomy import BINS, CLASSES, EDGES
from cegppo_verl.reporting import numbers
from cegppo_verl.reporting.arms import studies
from cegppo_verl.reporting.figures import Plot, study_plots
from cegppo_verl.reporting.panels_final import laws
from cegppo_verl.reporting.scores import sweep_tables

STEPS, EVALUATED, ARMS, SEEDS = 8, (0, 2, 4, 6, 8), 3, 2
PARAMS = ({"beta1": 0.0, "beta2": 1.0}, {"beta1": 0.5, "beta2": 1.0}, {"beta1": 0.5, "beta2": 0.5})
A = "actor/anatomy/"


class Known(FakeRun):
    """A run whose every logged number is drawn once and kept: ``logged[step][key]``."""

    def metrics(self, step: int) -> dict[str, float]:
        return self.logged[step]

    @classmethod
    def drawn(cls, number: int, seed: int, rng: np.random.Generator) -> Known:
        levels = {step: 0.2 + 0.06 * step + 0.1 * number for step in EVALUATED}
        tables = {step: (rng.random((12, 2)) < level).astype(int) for step, level in levels.items()}
        params = {**PARAMS[number], "epsilon_low": 0.2}
        run = cls(f"arm-{number}", seed, algorithm="cegppo", params=params, verdicts=tables)
        run.logged = {step: _logged(step, rng) for step in range(1, STEPS + 1)}
        return run


def _logged(step: int, rng: np.random.Generator) -> dict[str, float]:
    """Counts that add up, of a step with a number of tokens of its own."""
    tokens = int(rng.integers(500, 2000))
    regions = rng.multinomial(tokens, [0.05, 0.04, 0.03, 0.02, 0.86])
    classes = rng.multinomial(tokens, [0.3, 0.2, 0.35, 0.15])
    bins = rng.multinomial(tokens, np.full(len(BINS), 1 / len(BINS)))
    low = {f"{name}_lp": float(rng.integers(0, n + 1)) for name, n in zip(REGIONS, regions, strict=False)}
    counts = {
        "tokens": tokens,
        **dict(zip((*REGIONS, "inside"), regions, strict=True)),
        **dict(zip(CLASSES, classes, strict=True)),
        **dict(zip(BINS, bins, strict=True)),
        **low,
        "weight_abs": 400.0,
        "weight_abs_outside": 400 * rng.random(),
        "ratio": tokens * rng.uniform(0.9, 1.1),
        "ratio_squared": tokens * rng.uniform(1.3, 1.9),
    }
    return {
        "actor/entropy": 1.3 - 0.1 * step + 0.02 * rng.random(),
        "actor/ppo_kl": 0.01 * rng.random(),
        "actor/grad_norm": rng.random(),
        "training/rollout_probs_diff_mean": 1e-4 * rng.random(),
        "training/global_step": step,
        "timing_s/step": 5 + rng.random(),
        **{A + name: float(value) for name, value in counts.items()},
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[Known]], dict[str, Plot]]:
    """The runs, by arm and seed, and the figures that were made of their files."""
    root, rng = tmp_path_factory.mktemp("truth"), np.random.default_rng(3)
    runs = [[Known.drawn(number, seed, rng) for seed in range(SEEDS)] for number in range(ARMS)]
    (study,) = studies([run.view(root) for seeds in runs for run in seeds])
    found = {name: laws(study, name) for name in study.benchmarks}
    drawn, missing = study_plots(study, numbers.final_accuracy(study), found, sweep_tables(study))
    assert missing == []
    return runs, {plot.name: plot for plot in drawn}


def axes(plot: Plot, panel: int) -> Axes:
    axis = Figure().subplots()
    plot.panels[panel].draw(axis)
    return axis


def lines(axis: Axes, number: int, width: float | None = None) -> list[np.ndarray]:
    """y of the lines of an arm; of a given width only."""
    own = [line for line in axis.lines if line.get_gid() == f"arm{number}"]
    return [np.asarray(line.get_ydata()) for line in own if width is None or line.get_linewidth() == width]


def series(run: Known, key: str) -> np.ndarray:
    return np.array([run.logged[step][key] for step in range(1, STEPS + 1)])


def share(run: Known, above: Sequence[str], below: str = "tokens") -> np.ndarray:
    return 100 * sum(series(run, A + name) for name in above) / series(run, A + below)


def per_cent(run: Known, step: int) -> float:
    return 100 * float(np.mean(run.verdicts[step]))


OVER_STEPS = {
    ("accuracy-entropy", 1): lambda run: series(run, "actor/entropy"),
    ("stability", 0): lambda run: series(run, "actor/ppo_kl"),
    ("stability", 1): lambda run: series(run, "actor/grad_norm"),
    ("clip-anatomy", 0): lambda run: share(run, ["neg_below", "pos_below"]),
    ("clip-anatomy", 1): lambda run: share(run, ["pos_above", "neg_above"]),
    ("clip-anatomy", 2): lambda run: share(run, ["neg_below", "pos_above"]),
    ("clip-anatomy", 3): lambda run: share(run, ["weight_abs_outside"], "weight_abs"),
    ("log-ratio", 1): lambda run: (
        100 * series(run, A + "ratio") ** 2 / (series(run, A + "ratio_squared") * series(run, A + "tokens"))
    ),
    ("rollout-trainer", 0): lambda run: series(run, "training/rollout_probs_diff_mean"),
}


@pytest.mark.parametrize(("name", "panel"), OVER_STEPS)
def test_curves_are_the_means_of_the_seeds_with_the_seeds_behind(made, name: str, panel: int) -> None:
    runs, plots = made
    axis = axes(plots[name], panel)
    for number, seeds in enumerate(runs):
        expected = np.array([OVER_STEPS[name, panel](run) for run in seeds])
        assert np.array(lines(axis, number, 0.8)) == pytest.approx(expected)
        (mean,) = lines(axis, number, 2.2)
        assert mean == pytest.approx(expected.mean(0))


def test_quantiles_of_the_ratio_are_those_of_the_tokens(made) -> None:
    runs, plots = made
    axis = axes(plots["log-ratio"], 0)
    for number, seeds in enumerate(runs):
        found = np.array(lines(axis, number, 0.8)).reshape(2, SEEDS, STEPS)
        for q, drawn in zip((0.01, 0.99), found, strict=True):
            for run, values in zip(seeds, drawn, strict=True):
                for step, value in enumerate(values, 1):
                    low, high = _bin(run.logged[step], q)
                    assert low <= value <= high


def _bin(logged: dict[str, float], q: float) -> tuple[float, float]:
    """The bin that the quantile of the tokens lies in, by sorting them."""
    tokens = np.repeat(np.arange(len(BINS)), [int(logged[A + name]) for name in BINS])
    place = tokens[max(0, int(np.ceil(q * len(tokens))) - 1)]
    return EDGES[place], EDGES[place + 1]


def test_accuracies_are_the_verdicts(made) -> None:
    runs, plots = made
    axis = axes(plots["accuracy-entropy"], 0)
    for number, seeds in enumerate(runs):
        (drawn,) = lines(axis, number)
        assert drawn == pytest.approx([np.mean([per_cent(run, s) for run in seeds]) for s in EVALUATED])


def test_dots_are_shares_over_all_of_training(made) -> None:
    runs, plots = made
    regions = [(f"{name}_lp", name) for name in REGIONS]
    for panel, shares in ((0, regions), (1, [(name, "tokens") for name in CLASSES])):
        axis = axes(plots["probability-classes"], panel)
        for number, seeds in enumerate(runs):
            dots, means = lines(axis, number)
            expected = [[_pooled(run, *share) for run in seeds] for share in shares]
            if panel == 0:  # and that of all tokens
                expected.append([_pooled(run, ("pa_lp", "na_lp"), CLASSES) for run in seeds])
            assert dots == pytest.approx(np.concatenate(expected))
            places = next(line for line in axis.lines if line.get_gid() == f"arm{number}").get_xdata()
            assert np.round(places).tolist() == np.repeat(range(len(expected)), SEEDS).tolist()
            assert means == pytest.approx(np.mean(expected, 1))


def _pooled(run: Known, above: str | Sequence[str], below: str | Sequence[str]) -> float:
    top, bottom = (
        sum(series(run, A + name).sum() for name in ([names] if isinstance(names, str) else names))
        for names in (above, below)
    )
    return 100 * float(top / bottom)


def test_differences_are_those_of_the_verdicts(made) -> None:
    runs, plots = made
    axis = axes(plots["forest"], 0)
    base = np.mean([per_cent(run, STEPS) for run in runs[0]])
    for number in range(1, ARMS):
        (line,) = (line for line in axis.lines if line.get_gid() == f"arm{number}")
        low, point, high = np.asarray(line.get_xdata(), float)
        assert point == pytest.approx(np.mean([per_cent(run, STEPS) for run in runs[number]]) - base)
        assert low < point < high
        assert line.get_markevery() == [1]  # the ends are no points
    assert [(name.get_text(), name.get_position()[1]) for name in axis.texts] == [("arm-1", 0), ("arm-2", 1)]


def test_points_of_the_law_are_entropy_and_accuracy_of_the_same_step(made) -> None:
    runs, plots = made
    axis = axes(plots["entropy-accuracy"], 0)
    for number, seeds in enumerate(runs):
        points = next(line for line in axis.lines if line.get_gid() == f"arm{number}")
        entropy = [[run.logged[max(1, step)]["actor/entropy"] for step in EVALUATED] for run in seeds]
        accuracy = [[per_cent(run, step) for step in EVALUATED] for run in seeds]
        assert points.get_xdata() == pytest.approx(np.mean(entropy, 0))
        assert points.get_ydata() == pytest.approx(np.mean(accuracy, 0))


def test_cost_is_the_time_that_was_logged(made) -> None:
    runs, plots = made
    axis = axes(plots["cost"], 0)
    assert axis.get_xlabel() == "minutes of training, wall clock"
    for number, seeds in enumerate(runs):
        (point,) = (line for line in axis.lines if line.get_gid() == f"arm{number}")
        minutes = np.mean([series(run, "timing_s/step").sum() for run in seeds]) / 60
        assert point.get_xdata() == pytest.approx([minutes])
        assert point.get_ydata() == pytest.approx([np.mean([per_cent(run, STEPS) for run in seeds])])


def test_a_heat_map_holds_each_arm_at_its_two_knobs(made) -> None:
    runs, plots = made
    (name,) = (name for name in plots if name.startswith("sweep-"))
    axis = axes(plots[name], 0)
    knobs = {"x": axis.get_xlabel(), "y": axis.get_ylabel()}
    assert set(knobs.values()) == {"beta1", "beta2"}
    ticks = {k: [t.get_text() for t in getattr(axis, f"get_{k}ticklabels")()] for k in knobs}
    words = {t.get_position(): t.get_text() for t in axis.texts}
    for number, seeds in enumerate(runs):
        place = tuple(
            [float(tick) for tick in ticks[k]].index(PARAMS[number][knobs[k]]) + 0.5 for k in ("x", "y")
        )
        assert words[place] == f"{np.mean([per_cent(run, STEPS) for run in seeds]):.1f}"
    assert sorted(words.values())[-1] == "–"  # (0, 0.5) is not in the grid
