"""The catalogue: one YAML file per data set below ``catalog/``, read on demand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.validation import Strict, reject, validate
from cegppo_verl.experiment.yaml_file import read_yaml

FOLDER = Path(__file__).parent / "catalog"
TEMPLATES = Path(__file__).parent / "templates.yaml"
UNPINNED = "unpinned"
COMMIT = re.compile(r"[0-9a-f]{40}")
Text = Annotated[str, Field(min_length=1)]


class Columns(Strict):
    """Where a row has what; a dot leads into a mapping, e.g. ``reward_model.ground_truth``."""

    problem: Text = Field(description="text, or chat messages with one user message")
    answer: Text
    id: str | None = Field(default=None, description="the data set's own name of the problem")

    @property
    def needed(self) -> tuple[str, ...]:
        """Top-level columns that are read."""
        return tuple(dict.fromkeys(path.partition(".")[0] for path in (self.problem, self.answer)))


# verl's row format, in which the paper's authors publish their files.
VERL_COLUMNS = Columns(problem="prompt", answer="reward_model.ground_truth", id="extra_info.problem_id")


class Wrapper(Strict):
    """Instructions around the problem in the source, which are taken away before ours are added."""

    before: str
    after: str


class Template(Strict):
    """What stands around a problem in our prompt."""

    text: Annotated[str, Field(pattern=r"\{problem\}")]
    source: Text


class Dataset(Strict):
    """One training set or benchmark, with everything that decides what its file holds."""

    name: Text
    summary: Text
    role: Literal["train", "benchmark"]
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = Field(description="on the Hugging Face hub")
    revision: Annotated[str, Field(pattern=rf"^(?:[0-9a-f]{{40}}|{UNPINNED})$")]
    config: Text
    split: Text
    files: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    columns: Columns
    answer_rule: Literal["text", "hashes", "boxed", "all_of"]
    wrapper: Wrapper | None = None
    template: Text
    problems: Annotated[int, Field(ge=1)] | None = Field(
        description="how many there are; null: not published"
    )
    licence: Text

    @model_validator(mode="after")
    def _known(self) -> Self:
        if set(self.sha256) - set(self.files):
            raise reject("sha256", "names a file that is not among the files", "correct the name")
        return self

    @property
    def key(self) -> str:
        """The name in lower case: ``data_source`` of the rows, and a benchmark's name in grids."""
        return self.name.lower()

    @property
    def file(self) -> str:
        """Where the outcome goes, below the assets folder; ``cegppo run`` looks in the same place."""
        return f"{self.name}/{'train' if self.role == 'train' else 'test'}.parquet"


@cache
def datasets() -> Mapping[str, Dataset]:
    """Every data set by name: training sets first."""
    documents = [read_yaml(file) for file in sorted(FOLDER.glob("*.yaml"))]
    found = [validate(Dataset, document.data, document) for document in documents]
    return {item.name: item for item in sorted(found, key=lambda item: item.role == "benchmark")}


@cache
def templates() -> Mapping[str, Template]:
    """Every prompt template by name."""
    document = read_yaml(TEMPLATES)
    return {name: validate(Template, value, document, (name,)) for name, value in document.data.items()}


def dataset(name: str) -> Dataset:
    """The data set called ``name``, in upper or lower case; :class:`UserError` with the nearest name."""
    folded = {item.key: item for item in datasets().values()}
    if name.lower() not in folded:
        hint = did_you_mean(name, datasets())
        raise UserError(f"unknown data set '{name}'", hint=hint)
    return folded[name.lower()]


def template(name: str) -> Template:
    """The template called ``name``; :class:`UserError` with the nearest name."""
    if name not in templates():
        raise UserError(f"unknown template '{name}'", key="--template", hint=did_you_mean(name, templates()))
    return templates()[name]


def unwrapped(prompt: str) -> str:
    """The problem in a prompt that was made with one of our templates, else the prompt itself."""
    for known in templates().values():
        before, _, after = known.text.partition("{problem}")
        if (before or after) and prompt.startswith(before) and prompt.endswith(after):
            return prompt[len(before) : len(prompt) - len(after)]
    return prompt
