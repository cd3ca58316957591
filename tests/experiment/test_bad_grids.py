"""Every malformed grid file is refused with its name, the key at fault, and a fix.

Each file in ``bad_grids/`` says in its first two lines what is expected: ``# key:`` the key path ("-" for
none), ``# says:`` words that message or fix must hold, separated by "|".
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.grid import load_grid

CORPUS = sorted((Path(__file__).parent / "bad_grids").glob("*.yaml"))
GOOD = Path(__file__).parents[2] / "ablations" / "demo.yaml"


def refusal(file: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load_grid(file)
    return caught.value


def test_corpus_is_there() -> None:
    assert len(CORPUS) >= 192


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_bad_grid_is_refused(file: Path) -> None:
    first, second, *_ = file.read_text().splitlines()
    key, words = first.removeprefix("# key: "), second.removeprefix("# says: ").split("|")
    error = refusal(file)
    assert error.file == file
    assert (error.key or "-") == key
    assert error.hint
    assert [word for word in words if word not in str(error)] == []


def test_missing_file_names_its_neighbour() -> None:
    error = refusal(GOOD.with_name("demmo.yaml"))
    assert "no such file" in error.message
    assert "demo.yaml" in (error.hint or "")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    assert "not a file" in refusal(tmp_path).message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"name: \xff\xfe\n", "UTF-8"),
        (b"\x00\x01\x02", "not valid YAML"),
        (b"", "empty"),
        (b"a: " + b"[" * 5000, "not valid YAML"),
        (b"# " + b"x" * 1_000_001, "larger"),
    ],
    ids=["not-utf8", "binary", "zero-bytes", "too-deep", "too-large"],
)
def test_not_a_grid_at_all(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_bytes(content)
    error = refusal(file)
    assert word in error.message
    assert error.hint


def test_exponential_aliases_are_refused(tmp_path: Path) -> None:
    levels = "\n".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 10)}]" for i in range(1, 9))
    file = tmp_path / "grid.yaml"
    file.write_text(f"k0: &k0 [x]\n{levels}\n")
    assert "aliases" in (refusal(file).hint or "")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "grid.yaml"
    file.write_text("name: x\n")
    monkeypatch.setattr(Path, "read_text", denied)  # root, who may run this, can read every file
    assert "cannot be read: Permission denied" in refusal(file).message


def test_scale_and_seed_options_are_checked_like_the_file() -> None:
    with pytest.raises(UserError, match=r"(?s)--scale: unknown scale 'toy'.*toy-"):
        load_grid(GOOD, scale="toy")
    with pytest.raises(UserError, match=r"(?s)seeds\[0\].*greater than or equal to 0"):
        load_grid(GOOD, seeds=[-1])
    with pytest.raises(UserError, match="already at"):
        load_grid(GOOD, seeds=[1, 1])
