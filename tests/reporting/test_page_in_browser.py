"""The page in a browser, from a file:// address: no error, nothing fetched; sorting, arms, zoom, cells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import browser
import numpy as np
import pytest
from browser import Browser
from synthetic import FakeRun

from cegppo_verl.reporting import write_report
from cegppo_verl.reporting.page import Aims

pytestmark = pytest.mark.skipif(
    browser.CHROMIUM is None, reason="no chromium on this machine: the page is not looked at in a browser"
)
ARMS = {"grpo": 1, "ce-05-1": 3, "dapo": 2, "none-at-all": 0}  # problems right of 4
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
COMMAND = "cegppo report demo.yaml"


def verdicts(right: int) -> np.ndarray:
    return np.array([[1, 1]] * right + [[0, 0]] * (4 - right))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    answers = {"input": HOSTILE, "output": f"{HOSTILE} 42", "extracted": HOSTILE}
    views = [
        FakeRun(
            arm=arm, verdicts={0: verdicts(1), 4: verdicts(2), 8: verdicts(n)}, responses=lambda p, s: answers
        ).view(root)
        for arm, n in ARMS.items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        for form in ("png", "pdf"):
            patch.setattr(f"cegppo_verl.reporting.canvas._{form}", lambda figure: b"")
        return write_report(Aims("demo", HOSTILE, "b", "c"), views, root / "reports", COMMAND).html


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def shown(running: Browser, page: Path) -> Iterator[Browser]:
    running.errors.clear()
    running.requests.clear()
    running.open(page)
    running.wait("document.documentElement.dataset.ready === 'yes'")
    yield running
    assert running.errors == []
    assert [url for url in running.requests if url != page.as_uri() and not url.startswith("data:")] == []
    assert running.js("document.title") == "Report: demo"


ACCURACY = (
    "[...document.querySelectorAll('table')].find(t => t.caption.textContent.includes('Final accuracy'))"
)


def heads(shown: Browser) -> list[str]:
    return shown.js(f"[...{ACCURACY}.tBodies[0].rows].map(r => r.cells[0].textContent)")


def test_a_table_sorts_by_number_and_back(shown: Browser) -> None:
    button = f"{ACCURACY}.tHead.rows[0].cells[2].firstElementChild"
    assert heads(shown) == list(ARMS)
    shown.js(f"{button}.click()")
    assert heads(shown) == ["none-at-all", "grpo", "dapo", "ce-05-1"]
    assert shown.js(f"{ACCURACY}.tHead.rows[0].cells[2].getAttribute('aria-sort')") == "ascending"
    assert "ascending" in shown.js("document.getElementById('said').textContent")
    shown.js(f"{button}.click()")
    assert heads(shown) == ["ce-05-1", "dapo", "grpo", "none-at-all"]
    shown.js(f"{button}.click()")
    assert heads(shown) == list(ARMS)
    shown.js(f"{ACCURACY}.tHead.rows[0].cells[0].firstElementChild.click()")
    assert heads(shown) == ["ce-05-1", "dapo", "grpo", "none-at-all"]  # by name


def test_what_is_absent_sorts_last_either_way(shown: Browser) -> None:
    column = f"[...{ACCURACY}.tHead.rows[0].cells].findIndex(c => c.textContent.startsWith('Difference'))"
    ascending = ["none-at-all", "dapo", "ce-05-1"]  # −25, +25 and +50 points, with a true minus sign
    for order in (ascending, ascending[::-1]):
        shown.js(f"{ACCURACY}.tHead.rows[0].cells[{column}].firstElementChild.click()")
        assert heads(shown) == [*order, "grpo"]  # the baseline has no difference


def test_an_arm_is_switched_off_in_every_figure_by_keyboard(shown: Browser) -> None:
    visible = "[...document.querySelectorAll('svg .a1')].filter(n => n.style.display !== 'none').length"
    other = visible.replace("a1", "a0")
    before, others = shown.js(visible), shown.js(other)
    assert before > 5
    shown.js("document.querySelector('[data-arm=\"1\"] button').focus()")
    shown.press("Enter", 13, "\r")
    assert shown.js(visible) == 0
    assert shown.js(other) == others
    pressed = "[...new Set([...document.querySelectorAll('[data-arm=\"1\"] button')]"
    assert shown.js(f"{pressed}.map(b => b.getAttribute('aria-pressed')))]") == ["false"]
    shown.press("Enter", 13, "\r")
    assert shown.js(visible) == before


def test_all_arms_are_switched_off_and_on(shown: Browser) -> None:
    ours = "n => /^a[0-9]+$/.test(n.getAttribute('class'))"
    parts = f"[...document.querySelectorAll('svg [class^=a]')].filter({ours})"
    visible = f"{parts}.filter(n => n.style.display !== 'none').length"
    pressed = (
        "[...document.querySelectorAll('[data-arm] button')].filter(b => b.ariaPressed === 'true').length"
    )
    before, buttons = shown.js(visible), shown.js(pressed)
    assert before > 20
    for word, left in (("none", 0), ("all", 1)):
        shown.js(
            f"[...document.querySelectorAll('.legend button')].find(b => b.textContent === '{word}').click()"
        )
        assert (shown.js(visible), shown.js(pressed)) == (left * before, left * buttons)


def test_a_figure_is_enlarged_zoomed_moved_and_put_back(shown: Browser) -> None:
    box = "document.querySelector('#zoom-body svg').getAttribute('viewBox').split(' ').map(Number)"
    shown.js("document.querySelector('.panel .enlarge').click()")
    assert shown.js("document.getElementById('zoom').open")
    whole = shown.js(box)
    shown.press("+", 187, "+")
    near = shown.js(box)
    assert near[2] == pytest.approx(0.7 * whole[2])
    shown.press("ArrowRight", 39)
    assert shown.js(box)[0] > near[0]
    shown.press("0", 48, "0")
    assert shown.js(box) == whole
    shown.press("Escape", 27)
    assert not shown.js("document.getElementById('zoom').open")
    assert shown.js(
        "document.querySelector('.panel svg') !== null && !document.querySelector('#zoom-body svg')"
    )


def test_a_cell_shows_its_samples_provenance_and_commands(shown: Browser) -> None:
    shown.js("document.querySelectorAll('tr[data-run] .look')[1].click()")
    text = shown.js("document.getElementById('look').textContent")
    for said in (
        "ce-05-1",
        "cegppo run demo.yaml --arm ce-05-1 --seed 0",
        "c" * 12,
        HOSTILE,
        "pick/0 · correct",
    ):
        assert said in text
    assert shown.js("document.querySelectorAll('#look img, #look script').length") == 0


def test_a_cells_samples_are_filtered_by_verdict(shown: Browser) -> None:
    shown.js("document.querySelectorAll('tr[data-run] .look')[2].click()")  # dapo: 2 of the 3 problems shown
    verdicts = (
        "[...document.querySelectorAll('#look article')].filter(a => !a.hidden).map(a => a.dataset.outcome)"
    )
    both = ["correct"] * 4 + ["wrong"] * 2
    for wanted, left in (("all", both), ("wrong", both[4:]), ("correct", both[:4]), ("all", both)):
        shown.js(
            f"(s => {{ s.value = '{wanted}'; s.dispatchEvent(new Event('change')) }})"
            "(document.querySelector('#look select'))"
        )
        assert shown.js(verdicts) == left


def test_everything_that_does_something_has_a_name(shown: Browser) -> None:
    nameless = (
        "[...document.querySelectorAll('button, input, select, dialog, [role=group], svg[role=img]')].filter("
    )
    nameless += (
        "n => !(n.textContent.trim() || n.getAttribute('aria-label') || n.getAttribute('aria-labelledby')"
    )
    assert shown.js(nameless + " || n.closest('label'))).length") == 0
    levels = shown.js(
        "[...document.querySelectorAll('main h1, main h2, main h3, main h4')].map(h => +h.tagName[1])"
    )
    assert all(b - a <= 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_legible_and_nothing_sticks_out(
    page: Path, tmp_path: Path, theme: str, width: int
) -> None:
    from PIL import Image

    with Browser(tmp_path, width) as opened:
        opened.open(page, theme)
        assert opened.js("document.documentElement.scrollWidth <= window.innerWidth")
        opened.screenshot(tmp_path / "page.png", whole=False)
        assert opened.errors == []
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L")).astype(int)
    paper, ink = (255, 28) if theme == "light" else (23, 233)
    assert (np.abs(pixels - paper) < 6).mean() > 0.4
    assert (np.abs(pixels - ink) < 30).sum() > 300


def test_printed_it_has_no_controls_and_is_light(running: Browser, page: Path) -> None:
    running.open(page, "dark", media="print")
    assert running.js("getComputedStyle(document.querySelector('.enlarge')).display") == "none"
    assert running.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_thousand_cells_stay_responsive(running: Browser, tmp_path: Path) -> None:
    arms = [
        FakeRun(arm=f"arm-{n}", seed=n % 5, verdicts={8: verdicts(n % 5)}, total_steps=8) for n in range(1000)
    ]
    for number, arm in enumerate(arms):
        arm.arm = f"arm-{number // 5}"
    views = [arm.view(tmp_path) for arm in arms]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cegppo_verl.reporting.report.study_plots", lambda *rest: ([], []))
        html = write_report(Aims("many", "a", "b", "c"), views, tmp_path / "reports", COMMAND).html
    running.open(html)
    start = time.perf_counter()
    rows = "document.querySelectorAll('tr[data-run]').length"
    assert running.js(rows) == 1000
    took = running.js(
        "(() => { const s = performance.now();"
        "const t = document.querySelector('tr[data-run]').closest('table');"
        "t.tHead.rows[0].cells[0].firstElementChild.click(); t.getBoundingClientRect();"
        "return performance.now() - s })()"
    )
    assert took < 2000  # milliseconds, on a machine that does other things, too
    table = "document.querySelector('tr[data-run]').closest('table')"
    for wanted, left in (("ARM-77,", 5), ("arm-77, seed 3", 1), ("no such arm", 0), ("", 1000)):
        running.js(
            f"(() => {{ const i = {table}.parentElement.previousElementSibling.querySelector('input');"
            f"i.value = '{wanted}'; i.dispatchEvent(new Event('input')) }})()"
        )
        shown = running.js(
            f"[...{table}.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[0].textContent.trim())"
        )
        assert len(shown) == left
        assert all(wanted.lower() in head for head in shown)
        assert running.js("document.getElementById('said').textContent") == f"{left} of 1000 rows"
    running.js("document.querySelector('tr[data-run] .look').click()")
    assert running.js("document.getElementById('look').open")
    assert time.perf_counter() - start < 20
    assert html.stat().st_size < 8_000_000
