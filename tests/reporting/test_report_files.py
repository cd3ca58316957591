"""The written report: reproducible, self-contained, harmless, with provenance; and as a browser shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from synthetic import FakeRun, write_attempt

from cegppo_verl.errors import UserError
from cegppo_verl.records.derived import sha256
from cegppo_verl.records.status import DONE, FAILED, RUNNING, Status
from cegppo_verl.reporting import ReportPaths, RunView, write_report
from cegppo_verl.reporting import text as texts
from cegppo_verl.reporting.page import Aims

VERDICTS = np.array([[1, 0], [1, 1], [0, 0], [1, 0]])
HOSTILE = [
    "<script>document.title='owned'</script>",
    "</td></table><h1>out</h1>",
    "</style><img src=x onerror=alert(1)>",
    "</pre></article></details>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "a | b\n# heading `code` [x](javascript:alert(1)) ![i](http://x.y/z)",
    "nul \x00 bell \x07 right-to-left \u202e override, lone \ud800 surrogate",
    "$\\frac{1}{$ not closed",
    "long " * 5000,
]


def runs(root: Path) -> list[RunView]:
    return [
        FakeRun(arm=name, verdicts={0: VERDICTS, 8: VERDICTS}).view(root)
        for name in ("grpo", "dapo", "ce-05-1")
    ]


def report(root: Path, views: list[RunView], name: str = "demo", words: str = "why") -> ReportPaths:
    return write_report(Aims(name, words, words, words), views, root / "reports", "cegppo report demo.yaml")


@pytest.fixture
def no_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing pixels is slow, and their content is not what the test is about."""
    for form in ("png", "pdf"):
        monkeypatch.setattr(f"cegppo_verl.reporting.canvas._{form}", lambda figure: b"")


class Page(HTMLParser):
    """Tags in order, with a check that they nest, and the text outside style."""

    VOID = frozenset(("meta", "link", "br", "img", "input"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    root = tmp_path_factory.mktemp("report")
    return report(root, runs(root))


def test_the_same_records_give_the_same_bytes(written: ReportPaths, tmp_path: Path) -> None:
    again = report(tmp_path, runs(tmp_path))
    names = [path.relative_to(written.folder) for path in written.files]
    assert names == [path.relative_to(again.folder) for path in again.files]
    different = [
        str(n) for n in names if (written.folder / n).read_bytes() != (again.folder / n).read_bytes()
    ]
    assert different == []


def test_every_artefact_has_a_sidecar_with_its_hash_and_provenance(written: ReportPaths) -> None:
    artefacts = [path for path in written.files if path.suffix != ".json"]
    assert {path.suffix for path in artefacts} == {".md", ".html", ".svg", ".png", ".pdf", ".csv"}
    for path in artefacts:
        beside = json.loads((path.parent / f"{path.name}.json").read_text())
        assert beside["sha256"] == sha256(path.read_bytes())
        assert beside["artefact"] == path.relative_to(written.folder).as_posix()
        assert beside["command"] == "cegppo report demo.yaml"
        assert [cell["run"].partition("__")[0] for cell in beside["cells"]] == ["grpo", "dapo", "ce-05-1"]
        assert "last planned step" in beside["checkpoint_policy"]
        shared = path.parent / beside["provenance"]["file"]
        assert shared.resolve() == (written.folder / "provenance.json").resolve()
        assert beside["provenance"]["sha256"] == sha256(shared.read_bytes())
    whole = json.loads((written.folder / "provenance.json").read_text())
    assert [cell["arm"] for cell in whole["cells"]] == ["grpo", "dapo", "ce-05-1"]
    assert whole["cells"][0]["provenance"]["git"]["commit"] == "c" * 40
    assert whole["cells"][0]["provenance"]["versions"] == {"verl": "0.9.1"}
    assert "validation/8.jsonl" in whole["cells"][0]["records"]
    assert "old_log_prob" in whole["metric_definitions"]["entropy"]


def test_no_path_of_this_machine_and_no_address_gets_in(written: ReportPaths) -> None:
    for path in written.files:
        content = path.read_bytes()
        assert str(written.folder.parent.parent).encode() not in content, path
        fetched = re.findall(rb"(?:src|href)=\"(?!#|data:)[^\"]*\"|@import|url\((?!#)[^)]*\)", content)
        assert fetched == [], path


def test_the_page_is_well_formed_and_readable_without_eyes(written: ReportPaths) -> None:
    html = written.html.read_text()
    page = Page(html)
    names = [tag for tag, _ in page.tags]
    assert names.count("caption") == names.count("table") == 5
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    assert [a["aria-label"] for t, a in page.tags if t == "svg" and a.get("role") == "img"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"(?:url\(#|xlink:href=\"#)([^)\"]+)", html))
    assert used <= set(ids)
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL)
    data, code = scripts
    assert 'type="application/json"' in data[0]
    allowed = base64.b64encode(hashlib.sha256(code[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}';" in html  # this one script and no other
    assert dict(page.tags[0][1]) == {"lang": "en"}
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_page_and_markdown_say_the_same_numbers(written: ReportPaths) -> None:
    page, markdown = Page(written.html.read_text()).text, written.markdown.read_text().replace("\\", "")
    for said in ("50.0 [", "1 seed per arm: no claim about the methods", "nats/token, token-mean", "1.020"):
        assert said in page
        assert said in markdown


@pytest.mark.usefixtures("no_png")
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(tmp_path: Path, hostile: str, written: ReportPaths) -> None:
    answers = {"input": hostile, "output": hostile, "extracted": hostile, "gts": hostile}
    run = FakeRun(verdicts={8: VERDICTS}, responses=lambda p, s: answers | {"problem_id": f"{hostile}/{p}"})
    run_dir = run.write(tmp_path)
    cell = run.cell() | {"arm": hostile, "params": {"x": hostile}}
    (run_dir / "cell.json").write_text(json.dumps(cell))
    paths = report(tmp_path, [RunView.load(run_dir, Status(DONE, 8, 8))], words=hostile)
    page = Page(paths.html.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(written.html.read_text()).tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert texts.visible(hostile, 60).split(" … (")[0] in page.text
    assert not re.search(
        r"(?<!\\)[<`]|(?<!\\)\]\((?!figures)",
        re.sub(r"^`.*`$", "", paths.markdown.read_text()[:2000], flags=re.M),
    )
    assert len(paths.html.read_bytes()) < 2_000_000
    for svg in paths.folder.glob("figures/*.svg"):
        ElementTree.fromstring(svg.read_bytes())  # well-formed whatever the labels hold


@pytest.mark.usefixtures("no_png")
def test_a_table_of_markdown_keeps_its_columns(tmp_path: Path) -> None:
    view = FakeRun(arm="a | b `c`", verdicts={8: VERDICTS}).view(tmp_path)
    lines = [
        line for line in report(tmp_path, [view]).markdown.read_text().split("\n") if line.startswith("|")
    ]
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert set(columns[:3]) == {5}


@pytest.mark.usefixtures("no_png")
@pytest.mark.parametrize(
    "damage",
    [
        lambda run: shutil.rmtree(run),
        lambda run: [shutil.rmtree(run), run.mkdir()],
        lambda run: (run / "cell.json").write_text('{"arm": '),
        lambda run: (run / "cell.json").write_text("[]"),
        lambda run: (run / "manifest.json").unlink(),
        lambda run: shutil.rmtree(run / "attempts"),
        lambda run: shutil.rmtree(run / "validation"),
        lambda run: (run / "validation" / "8.jsonl").write_bytes(b"\x00\xff" * 500),
        lambda run: (run / "attempts" / "001" / "metrics.jsonl").write_bytes(b""),
        lambda run: (run / "attempts" / "001" / "metrics.jsonl").write_bytes(b"\x00\xff" * 500),
    ],
    ids=range(10),
)
def test_damaged_directories_give_a_report_that_says_so(tmp_path: Path, damage) -> None:
    whole, broken = FakeRun(arm="grpo", verdicts={8: VERDICTS}), FakeRun(arm="ce", verdicts={8: VERDICTS})
    run_dir = broken.write(tmp_path)
    damage(run_dir)
    view = RunView.load(run_dir, Status(FAILED, 0, 8, "step 1 of 8 is not logged"), cell=broken.cell())
    paths = report(tmp_path, [whole.view(tmp_path), view])
    page = Page(paths.html.read_text()).text
    assert "failed, step 0 of 8" in page
    if run_dir.exists():
        assert "failed: step 1 of 8 is not logged" in page


def test_a_run_that_two_grids_share_bears_the_arms_name_of_the_grid_at_hand(tmp_path: Path) -> None:
    run_dir = FakeRun(arm="first-name", verdicts={8: VERDICTS}).write(tmp_path)
    planned = {**json.loads((run_dir / "cell.json").read_text()), "arm": "here"}
    assert RunView.load(run_dir, Status(DONE, 8, 8), cell=planned).arm == "here"
    assert RunView.load(run_dir, Status(DONE, 8, 8)).arm == "first-name"


@pytest.mark.usefixtures("no_png")
def test_only_a_directory_and_nothing_known(tmp_path: Path) -> None:
    run_dir = tmp_path / "ce__toy-xs__seed0-000000000000"
    write_attempt(run_dir, 1, [(1, {"actor/entropy": 1.0, "training/global_step": 1})])
    paths = report(tmp_path, [RunView.load(run_dir, Status(RUNNING, 1, 24))])
    page = Page(paths.html.read_text()).text
    assert "cell.json is missing or not readable" in page
    assert "running, step 1 of 24" in page


@pytest.mark.usefixtures("no_png")
def test_truncated_lines_are_reported(tmp_path: Path) -> None:
    run = FakeRun(verdicts={8: VERDICTS})
    run_dir = run.write(tmp_path)
    write_attempt(run_dir, 2, [(step, run.metrics(step)) for step in range(5, 9)], tail=b'{"st')
    page = Page(report(tmp_path, [RunView.load(run_dir, Status(DONE, 8, 8))]).html.read_text()).text
    assert "attempts/002/metrics.jsonl: 1 truncated line ignored" in page


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write the report"):
        report(tmp_path, runs(tmp_path))
