from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cegppo_verl.stats import (
    Components,
    Design,
    detectable_effect,
    difference_interval,
    needed,
    paired_components,
    variance_components,
)
from cegppo_verl.stats.power import planned_spread
from cegppo_verl.stats.simulate import World

PARTS = Components(seed=0.02**2, problem=0.05**2, interaction=0.1**2, sample=0.15)


def test_the_planned_variance_by_hand() -> None:
    found = planned_spread(PARTS, Design(seeds=4, problems=30, samples=8))
    assert found.seed == pytest.approx(2 * 0.0004 / 4)
    assert found.problem == pytest.approx((0.0025 + 2 * (0.01 + 0.15 / 8) / 4) / 30)
    assert (found.seed_df, found.problem_df) == (6, 29)


def test_seeds_alone_agree_with_statsmodels_t_test_power() -> None:
    """TTestIndPower: 2.0244 standard deviations with 5 per arm; 16.71 per arm for one (power .8, α .05)."""
    parts = Components(seed=1.0, problem=0.0, interaction=0.0, sample=0.0)
    assert detectable_effect(parts, Design(5, 30, 1)) == pytest.approx(2.0244, rel=0.02)
    assert needed(1.0, parts, Design(2, 30, 1), "seeds") == 17


def test_needed_is_the_smallest_number_that_resolves() -> None:
    design = Design(3, 60, 8)
    for what in ("seeds", "problems", "samples"):
        number = needed(0.08, PARTS, design, what)  # type: ignore[arg-type]
        assert number is not None
        assert detectable_effect(PARTS, replace(design, **{what: number})) <= 0.08  # type: ignore[arg-type]
        if number > 2:
            assert detectable_effect(PARTS, replace(design, **{what: number - 1})) > 0.08  # type: ignore[arg-type]


def test_some_gaps_no_number_of_seeds_or_samples_resolves() -> None:
    assert needed(0.01, PARTS, Design(5, 30, 32), "seeds") is None
    assert needed(0.02, PARTS, Design(3, 30, 1), "samples") is None
    assert needed(0.01, PARTS, Design(200, 30, 32), "problems") is not None


def test_components_are_recovered_from_verdicts() -> None:
    """Mean over 40 evaluations of known layers: seed .05, problem U(.2, .8), interaction .08."""
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        means = (
            rng.uniform(0.3, 0.7, 60)
            + 0.05 * rng.standard_normal((4, 1))
            + 0.08 * rng.standard_normal((4, 60))
        )
        correct = (rng.random((4, 60, 6)) < means[..., None]).astype(float)
        parts = variance_components(correct)
        found.append((parts.seed, parts.problem, parts.interaction, parts.sample))
    truth = [0.05**2, 0.4**2 / 12, 0.08**2, 0.25 - 0.4**2 / 12 - 0.05**2 - 0.08**2]
    np.testing.assert_allclose(np.mean(found, axis=0), truth, rtol=0.25)


def test_what_the_data_cannot_tell_is_not_made_up() -> None:
    rng = np.random.default_rng(0)
    one = variance_components((rng.random((1, 30, 4)) < 0.5).astype(float))
    assert np.isnan([one.seed, one.interaction]).all()
    with pytest.raises(ValueError, match="not known from one seed"):
        detectable_effect(one, Design(3, 30, 4))
    assert np.isnan(variance_components((rng.random((3, 30, 1)) < 0.5).astype(float)).sample)
    with pytest.raises(ValueError, match="a design needs"):
        detectable_effect(PARTS, Design(1, 30, 4))
    with pytest.raises(ValueError, match="gap must be"):
        needed(0.0, PARTS, Design(3, 30, 4), "seeds")
    with pytest.raises(ValueError, match="every seed needs"):
        variance_components(np.array([[[1.0], [np.nan]], [[1.0], [0.0]]]))


def test_the_detectable_effect_is_detected_about_80_per_cent_of_the_time() -> None:
    """Components from 15 pilots, then 250 experiments with a true gap of that size."""
    world, rng, pilots = World(), np.random.default_rng(4), []
    for _ in range(15):
        problems = world.problems(rng, 200)
        pilots.append(paired_components(*(_verdicts(world, rng, problems, 8, 8) for _ in range(2))))
    names = ("seed", "problem", "interaction", "sample")
    parts = Components(*(float(np.mean([getattr(pilot, name) for pilot in pilots])) for name in names))
    gap = detectable_effect(parts, Design(5, 100, 8))
    shift = next(s for s in np.arange(0.05, 2, 0.01) if world.truth(s) - world.truth() >= gap)
    hits = 0
    for _ in range(250):
        p = world.problems(rng, 100)
        a, b = (world.right(rng, world.arm(rng, p, s), world.seeds(rng, 5), 8) / 8 for s in (shift, 0.0))
        hits += difference_interval([a], [b]).interval.excludes_zero
    assert hits / 250 == pytest.approx(0.8, abs=0.08)


def _verdicts(world, rng, problems, seeds, samples):  # type: ignore[no-untyped-def]
    right = world.right(rng, world.arm(rng, problems), world.seeds(rng, seeds), samples)
    return (np.arange(samples) < right[..., None]).astype(float)
