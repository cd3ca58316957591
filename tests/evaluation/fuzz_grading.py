r"""Coverage-guided fuzzing of answer extraction, grading and instructions; not collected by pytest.

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
    from cegppo_verl.evaluation import constraints, extract, grading, pool
    from cegppo_verl.evaluation.worker import PATIENCE
from cegppo_verl.evaluation import code

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
    *("<<", ">>", "```\n", "```json\n", ". ", "...", "- ", "\n\n", "def f(x):\n", "P.S. "),
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
RULES = constraints.read_constraints(
    [
        *({"name": n, "least": 1, "most": 9} for n in ("word_count", "sentence_count")),
        *({"name": n, "number": 2} for n in ("paragraph_count", "bullet_count")),
        *({"name": n} for n in ("json_format", "lower_case", "upper_case", "no_commas", "quoted", "title")),
        *({"name": n, "words": ["x y", "1"]} for n in ("keywords", "forbidden_words")),
        {"name": "placeholders", "least": 1},
        {"name": "postscript", "marker": "P.S."},
    ]
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


def check_instructions(response: str) -> None:
    """A verdict for every constraint, and a program or none, soon."""
    start = time.process_time()
    for loose in (False, True):
        assert len(constraints.verdicts(response, RULES, loose=loose)) == len(RULES)
    program = code.program_in(response, "def f(x):\n", "f")
    assert program is None or program.startswith("def f(x):\n")
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
    check_instructions(text)
    check_grade(f"\\boxed{{{text}}}", truth)
    if sum(counts.values()) % 1000 == 0:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{sum(counts.values())} graded {counts}, {memory} MiB", file=sys.stderr, flush=True)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
