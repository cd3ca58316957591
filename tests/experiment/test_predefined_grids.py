"""The grids that come with the project: all there, sharing what they have in common, saying what they do."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from cegppo_verl.experiment import catalog, identity
from cegppo_verl.experiment.cell import Cell, read_cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.records import archive

ROOT = Path(__file__).parents[2]
ABLATIONS = ROOT / "ablations"
RUNS = sorted((ROOT / "results" / "runs").glob("*/*/cell.json"))
ARCHIVES = sorted((ROOT / "results" / "archives").glob(f"*{archive.ENDING}"))
PAPER = "deepseek-r1-distill-qwen-1.5b"
ARMS = {
    "table1_methods": 4,
    "table2_algorithms": 4,
    "fig3_beta": 8,
    "fig4_stability": 3,
    "fig5_entropy_bonus": 5,
    "fig6_schedule": 3,
    "clip_bounds": 12,
    "beta_x_clip": 12,
    "off_policyness": 12,
    "isolated_sides": 4,
    "released_settings": 5,
    "soft_clip_shootout": 14,
    "scale_ladder": 3,
    "adaptive_beta": 10,
}


def cells(name: str, scale: str | None = "toy-s") -> list[Cell]:
    return expand(load_grid(ABLATIONS / f"{name}.yaml", scale=scale))


def ids(name: str, scale: str = "toy-s") -> set[str]:
    return {cell.id for cell in cells(name, scale)}


@pytest.mark.parametrize(("name", "arms"), ARMS.items())
def test_they_have_their_arms(name: str, arms: int) -> None:
    assert len(load_grid(ABLATIONS / f"{name}.yaml").arms) == arms


@pytest.mark.parametrize("name", sorted({file.parts[-3] for file in RUNS}))
def test_the_cells_of_recorded_runs_are_found_again(name: str) -> None:
    """No id has changed since these runs were made."""
    if not (ABLATIONS / f"{name}.yaml").exists():
        pytest.skip("a folder that belongs to no grid")
    recorded = [read_cell(file) for file in RUNS if file.parts[-3] == name]
    for scale in {cell.scale for cell in recorded}:
        own = [cell for cell in recorded if cell.scale == scale]
        assert {cell.id for cell in own} <= found_again(name, scale, {cell.seed for cell in own})


def found_again(name: str, scale: str, seeds: set[int]) -> set[str]:
    grid = load_grid(ABLATIONS / f"{name}.yaml", scale=scale, seeds=sorted(seeds))
    return {cell.id for cell in expand(grid)}


@pytest.mark.parametrize("file", ARCHIVES, ids=lambda file: file.name)
def test_so_are_those_of_packed_runs(file: Path) -> None:
    with tarfile.open(file) as packed:
        runs = {Path(name).parts[1] for name in packed.getnames()}
    slugs = [run.rpartition("-") for run in runs]
    grid, scale = file.name.removesuffix(archive.ENDING).split("__")
    seeds = {int(slug.rpartition("seed")[2]) for slug, _, _ in slugs}
    assert {identity for _, _, identity in slugs} <= found_again(grid, scale, seeds)


SHARED_WITH_TABLE_1 = {
    "table2_algorithms": 1,  # CE-GPPO (.5, 1)
    "fig3_beta": 3,  # DAPO and both CE-GPPO
    "fig4_stability": 3,
    "fig5_entropy_bonus": 3,
    "fig6_schedule": 1,
    "released_settings": 2,
    "soft_clip_shootout": 3,
    "isolated_sides": 1,
    "clip_bounds": 1,
    "beta_x_clip": 1,
}


@pytest.mark.parametrize("scale", ["toy-s", PAPER])
@pytest.mark.parametrize(("name", "arms"), SHARED_WITH_TABLE_1.items())
def test_grids_share_their_baselines(name: str, arms: int, scale: str) -> None:
    assert len(ids(name, scale) & ids("table1_methods", scale)) == 3 * arms  # three seeds


def test_off_policyness_shares_where_the_preset_has_one_epoch() -> None:
    assert len(ids("off_policyness", PAPER) & ids("table1_methods", PAPER)) == 2 * 3  # 8 updates, as released
    assert ids("off_policyness") & ids("table1_methods") == set()


@pytest.mark.parametrize("scale", ["toy-s", PAPER])
def test_off_policyness_has_the_updates_that_it_names(scale: str) -> None:
    for cell in cells("off_policyness", scale):
        assert cell.arm.endswith(f"-updates-{cell.settings.updates_per_step}")


def test_the_switch_of_fig_6_is_at_the_papers_step() -> None:
    (switched,) = [cell for cell in cells("fig6_schedule", PAPER)[:3] if "then" in cell.arm]
    assert switched.params["beta1"] == {"1": 0.0, "585": 0.5}


@pytest.mark.parametrize("name", ARMS)
def test_identities_of_many_are_those_of_each(name: str) -> None:
    for cell in cells(name):
        scale = catalog.scale(cell.scale)
        content = identity.content(cell.algorithm, cell.params, scale, cell.settings, cell.seed)
        assert cell.id == identity.digest(content)
