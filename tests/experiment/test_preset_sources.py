"""Every constant of the paper's preset says where it comes from."""

from __future__ import annotations

import re

import pytest

from cegppo_verl.experiment.catalog import FOLDER

PRESET = (FOLDER / "presets" / "paper-math.yaml").read_text()
SOURCE = re.compile(r"#\s*(?:paper|scripts|ours)\b", re.IGNORECASE)


def unsourced(text: str) -> list[str]:
    """Constants with a source neither beside them, nor above, nor at the head of their list."""
    bare, above = [], False
    for line in text.split("\nsettings:\n")[1].split("\ndeviations:")[0].splitlines():
        entry, stated = line.split("#")[0].strip(), SOURCE.search(line) is not None
        if not entry:  # a comment of its own
            above = above or stated
        elif entry.endswith(":"):
            above = stated
        else:
            if not (stated or above or entry.endswith(": null")):  # null leaves it to the engine or the file
                bare.append(entry)
            above = above and entry.startswith("- ")
    return bare


def test_every_constant_of_the_papers_preset_has_its_source() -> None:
    assert unsourced(PRESET) == []


@pytest.mark.parametrize("constant", ["learning_rate: 1.0e-6", "keep: 2", "- {name: math500, samples: 4}"])
def test_a_constant_without_its_source_is_found(constant: str) -> None:
    assert unsourced(re.sub(rf"({re.escape(constant)})\s*#.*", r"\1", PRESET)) == [constant]
