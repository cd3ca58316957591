"""A study file: which grids were run, and which claims their records decide.

The claims stand in the file before the runs do: what is measured, between which arms, with which sign. So a
verdict follows from records by rule, and nobody chooses a test after having seen the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.cell import Seed
from cegppo_verl.experiment.grid import Prose
from cegppo_verl.experiment.validation import Name, Strict, reject, validate
from cegppo_verl.experiment.yaml_file import read_yaml

Sign = Literal["positive", "negative"]
Finite = Annotated[float, Field(strict=False)]


class Evidence(Strict):
    """A grid as it was run."""

    grid: str = Field(description="a grid file, relative to the study file")
    scale: str | None = Field(default=None, description="as --scale")
    seeds: list[Seed] | None = Field(default=None, description="as --seed, once each")


class Measure(Strict):
    """One number of a run."""

    of: str = Field(description="a measure; an unknown name is answered with the list")
    steps: Annotated[tuple[int, int], Field(strict=False)] | None = Field(
        default=None, description="first and last training step that count; default: the second half"
    )
    benchmark: Name | None = Field(default=None, description="for accuracy; default: the run's first")


class Slope(Strict):
    """Arms in order of one knob."""

    over: dict[str, Finite] = Field(min_length=2, description="arm: value of the knob")

    @model_validator(mode="after")
    def _varies(self) -> Self:
        if len(set(self.over.values())) < 2:
            raise reject("over", "all arms have the same value", "give each arm the value of its own knob")
        return self


class Level(Strict):
    """One arm against a fixed number."""

    arm: str
    than: Finite = Field(description="the number; positive means above it")


class Claim(Strict):
    """A sentence, and the number whose sign decides it."""

    name: Name
    claim: Prose
    source: Prose = Field(description="who claims it, and where")
    evidence: list[str] = Field(min_length=1, description="names of the study's evidence")
    measure: Measure
    expected: Sign
    difference: Annotated[tuple[str, str], Field(strict=False)] | None = Field(
        default=None, description="two arms: the first minus the second, paired by seed"
    )
    slope: Slope | None = None
    level: Level | None = None
    note: str = ""

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        given = [name for name in ("difference", "slope", "level") if getattr(self, name) is not None]
        if len(given) != 1:
            shown = " and ".join(given) if given else "none"
            raise reject("difference", f"exactly one of difference, slope, level: found {shown}", "keep one")
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms it needs."""
        if self.difference:
            return self.difference
        return tuple(self.slope.over) if self.slope else (self.level.arm,) if self.level else ()


class Agreement(Strict):
    """Two engines on the same grid: do their runs agree within a margin that was stated beforehand?"""

    between: Annotated[tuple[str, str], Field(strict=False)] = Field(description="two names of the evidence")
    arms: list[str] = Field(min_length=1)
    measure: Measure
    margin: Annotated[float, Field(gt=0, strict=False)] = Field(
        description="the largest difference that does not matter, in the measure's shown unit"
    )
    why: Prose = Field(description="why that margin")


class Exploration(Strict):
    """One difference under several conditions: described with intervals, decides nothing."""

    name: Name
    question: Prose
    measure: Measure
    over: str = Field(description="what varies, with its unit: the axis")
    points: dict[str, Annotated[tuple[str, str, str], Field(strict=False)]] = Field(
        min_length=1, description="label: evidence, arm, the arm it is compared with"
    )
    note: str = ""


class StudyFile(Strict):
    """Claims and where their evidence lies."""

    name: Name = Field(description="the folder below reports/")
    question: Prose
    design: Prose
    threats: list[Prose] = Field(min_length=1, description="threats to validity")
    evidence: dict[str, Evidence] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)
    agreements: list[Agreement] = Field(default=[], description="engines that are to agree")
    explorations: list[Exploration] = Field(default=[], description="what is described, not decided")
    findings: list[Prose] = Field(default=[], description="what it comes to, written after the fact")

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [claim.name for claim in self.claims]
        for place, claim in enumerate(self.claims):
            if claim.name in names[:place]:
                raise reject(f"claims.{place}.name", f"claim '{claim.name}' is there twice", "rename one")
            self._require(f"claims.{place}.evidence", claim.evidence)
        for place, agreement in enumerate(self.agreements):
            self._require(f"agreements.{place}.between", agreement.between)
        for place, exploration in enumerate(self.explorations):
            for label, (used, *_) in exploration.points.items():
                self._require(f"explorations.{place}.points.{label}", [used])
        return self

    def _require(self, key: str, names: Iterable[str]) -> None:
        for used in names:
            if used not in self.evidence:
                hint = did_you_mean(used, self.evidence)
                raise reject(key, f"no evidence is called '{used}'", hint)

    @property
    def measures(self) -> dict[str, Measure]:
        """Every measure by the key where it stands."""
        found = {f"claims.{place}.measure": claim.measure for place, claim in enumerate(self.claims)}
        found |= {f"agreements.{place}.measure": one.measure for place, one in enumerate(self.agreements)}
        return found | {
            f"explorations.{place}.measure": one.measure for place, one in enumerate(self.explorations)
        }


def load_study(path: Path, measures: Mapping[str, object]) -> StudyFile:
    """Read and check a study file; grid files it names must exist.

    Args:
        measures: the known measures by name.

    Raises:
        UserError: with file, key and nearest valid name.
    """
    document = read_yaml(path)
    study = validate(StudyFile, document.data, document)
    for name, evidence in study.evidence.items():
        if not (path.parent / evidence.grid).is_file():
            hint = "a path relative to the study file"
            raise UserError(
                f"no grid file {evidence.grid}", file=path, key=f"evidence.{name}.grid", hint=hint
            )
    for place, measure in study.measures.items():
        if measure.of not in measures:
            key, hint = f"{place}.of", did_you_mean(measure.of, measures)
            raise UserError(f"unknown measure '{measure.of}'", file=path, key=key, hint=hint)
    return study
