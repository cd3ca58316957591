"""A study file: which grids were run, and which claims their records decide.

The claims stand in the file before the runs do: what is measured, between which arms, with which sign. So a
verdict follows from records by rule, and nobody chooses a test after having seen the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class StudyFile(Strict):
    """Claims and where their evidence lies."""

    name: Name = Field(description="the folder below reports/")
    question: Prose
    design: Prose
    threats: list[Prose] = Field(min_length=1, description="threats to validity")
    evidence: dict[str, Evidence] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [claim.name for claim in self.claims]
        for place, claim in enumerate(self.claims):
            if claim.name in names[:place]:
                raise reject(f"claims.{place}.name", f"claim '{claim.name}' is there twice", "rename one")
            for used in claim.evidence:
                if used not in self.evidence:
                    hint = did_you_mean(used, self.evidence)
                    raise reject(f"claims.{place}.evidence", f"no evidence is called '{used}'", hint)
        return self


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
    for place, claim in enumerate(study.claims):
        if claim.measure.of not in measures:
            key, hint = f"claims.{place}.measure.of", did_you_mean(claim.measure.of, measures)
            raise UserError(f"unknown measure '{claim.measure.of}'", file=path, key=key, hint=hint)
    return study
