r"""Coverage-guided fuzzing of answer extraction and grading; not collected by pytest.

Needs atheris and math-verify in an environment of their own:

    python tests/evaluation/fuzz_grading.py CORPUS-FOLDER -max_total_time=1200 -timeout=900 \
        -rss_limit_mb=2048 -len_control=0 -max_len=2048

A finding is an exception, an answer that breaks a promise, an item that takes longer than its limit, or
memory of this process above the limit; libFuzzer stops there and writes the input to a file.
"""

import resource
import sys
import time

import atheris

with atheris.instrument_imports():
    from cegppo_verl.evaluation import extract, grading, pool
    from cegppo_verl.evaluation.worker import PATIENCE

SECONDS = 0.5
SLOW_EXTRACTION = 1.0  # seconds of a core; usual is 0.00001
PIECES = (
    *"0123456789+-*/^_=<>(){}[]|!,.;:% $&~\\xyi\n\t ",
    *(
        "\\boxed{",
        "\\fbox{",
        "}",
        "\\frac{",
        "}{",
        "\\sqrt{",
        "\\sqrt[",
        "\\left(",
        "\\right)",
        "\\pi",
        "\\infty",
    ),
    *("\\text{", "\\cup", "\\pm", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "\\binom{", "\\sum_{k=1}^{"),
    *(
        "\\log",
        "\\sin",
        "^{9^{9",
        "\\circ",
        "\\%",
        "\\{",
        "\\}",
        "\\overline{",
        "\\le",
        "1,000",
        "−",
        "½",
        "\ud800",
    ),
)
GRADER = grading.Grader(workers=2, seconds=SECONDS)
counts: dict[str, int] = {}


def text_of(data: atheris.FuzzedDataProvider) -> str:
    """Any characters, or LaTeX fragments in any order, perhaps repeated."""
    if data.ConsumeBool():
        return data.ConsumeUnicode(4096)
    pieces = [
        PIECES[data.ConsumeIntInRange(0, len(PIECES) - 1)] for _ in range(data.ConsumeIntInRange(0, 60))
    ]
    return "".join(pieces) * data.ConsumeIntInRange(1, 50)


def check_extraction(response: str) -> None:
    """What extraction promises for any text."""
    start = time.process_time()
    for rule in extract.RULES:
        answer = extract.extract_answer(response, rule)
        assert answer is None or 0 < len(answer) <= extract.MAX_ANSWER
    assert extract.clean(extract.clean(response)) is not None
    grading.read_truth.__wrapped__(response)
    assert time.process_time() - start < SLOW_EXTRACTION


def check_grade(response: str, truth: str) -> None:
    """Two tries at most, and a fresh crew."""
    start = time.monotonic()
    verdict = GRADER.grade(response, truth)
    assert time.monotonic() - start < 2 * (SECONDS * PATIENCE + pool.GRACE) + pool.START_SECONDS
    assert verdict.outcome in grading.OUTCOMES
    assert (verdict.outcome == "no_answer") == (verdict.extracted == "")
    counts[verdict.outcome] = counts.get(verdict.outcome, 0) + 1


def one(raw: bytes) -> None:
    """One input."""
    data = atheris.FuzzedDataProvider(raw)
    truth, text = (
        data.PickValueInList(["5", "\\frac{1}{2}", "(1,2]", "x^2+1", '["3", "\\\\pi"]']),
        text_of(data),
    )
    check_extraction(text)
    check_grade(f"\\boxed{{{text}}}", truth)
    if sum(counts.values()) % 1000 == 0:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{sum(counts.values())} graded {counts}, {memory} MiB", file=sys.stderr, flush=True)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
