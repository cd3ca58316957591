"""Losses from outside the package: by module and by file, their labels and what identifies their code."""

import dataclasses
import subprocess
import sys

import pytest

from cegppo_verl.losses import cegppo, external, fingerprint
from cegppo_verl.losses.registry import LOSSES

TEXT = """
import dataclasses
from cegppo_verl.losses.gppo import LOSS as GPPO
{imports}
LOSS = dataclasses.replace(GPPO, title="{title}")
OTHER = dataclasses.replace(GPPO, title="other")
other = dataclasses.replace(GPPO, title="yet another")
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def _write(name="soft", title="soft", imports=""):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TEXT.format(title=title, imports=imports))
        return str(file)

    return _write


def test_a_file_and_its_attributes(write):
    file = write()
    assert external.find(file).title == "soft"
    assert external.find(f"{file}:OTHER").title == "other"
    labels = [external.label(name) for name in (file, f"{file}:OTHER", f"{file}:other")]
    assert labels == ["soft", "soft_OTHER", "soft_other"]
    versions = {external.version(name) for name in (file, f"{file}:OTHER", f"{file}:other")}
    assert len(versions) == 3


def test_a_module_that_can_be_imported(write):
    write("lab_of_mine/gates")
    assert external.find("lab_of_mine.gates").title == "soft"
    assert external.label("lab_of_mine.gates") == "gates"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gpo", "did you mean"),
        ("no/such.py", "no file"),
        ("no_such_lab.losses", "cannot be imported"),
        ("json.decoder", "has no LOSS"),
    ],
)
def test_what_is_not_there_is_named(name, complaint):
    with pytest.raises(ValueError, match=complaint):
        external.find(name)


@pytest.mark.parametrize(
    "broken", ["1/0", "def", "import no_such_module_at_all", "raise SystemError", "raise ValueError"]
)
def test_whatever_somebodys_code_raises_is_one_error(tmp_path, broken):
    file = tmp_path / "broken.py"
    file.write_text(broken)
    with pytest.raises(ValueError, match="cannot be imported"):
        external.find(str(file))


VERSION = "import sys\nfrom cegppo_verl.losses import external\nprint(external.version(sys.argv[1]))"


def version(file, folder):
    """In a process of its own: a module is imported once."""
    done = subprocess.run(
        [sys.executable, "-c", VERSION, file], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_what_the_file_imports_of_ones_own_counts_and_the_folder_does_not(write, tmp_path):
    file = write(imports="import helper_of_mine\nimport numpy, json")
    helper, deeper = tmp_path / "helper_of_mine.py", tmp_path / "deeper_of_mine.py"
    helper.write_text("def f():\n    from deeper_of_mine import K\n")
    deeper.write_text("K = 1\n")
    before = version(file, tmp_path)
    deeper.write_text("K = 7\n")
    after = version(file, tmp_path)
    assert before != after
    deeper.write_text("K = 1\n")
    assert version(file, tmp_path) == before
    moved = tmp_path / "elsewhere" / "soft.py"
    moved.parent.mkdir()
    moved.write_bytes((tmp_path / "soft.py").read_bytes())
    assert version(str(moved), tmp_path) == before


def test_the_version_of_a_loss_it_builds_on_counts(write, monkeypatch):
    module = external.module_of(write(imports="from cegppo_verl.losses import cegppo"))
    before = fingerprint.of.__wrapped__(module, "LOSS")
    monkeypatch.setattr(cegppo, "LOSS", dataclasses.replace(cegppo.LOSS, version="2"))
    assert fingerprint.of.__wrapped__(module, "LOSS") != before


def test_a_registered_loss_has_its_declared_version():
    assert all(external.version(name) == loss.version for name, loss in LOSSES.items())
