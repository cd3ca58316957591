"""Small copies of each source, with its real file names and columns and with problems of our own.

Columns as read on the cards named in the catalogue. No row of any data set is copied.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cegppo_verl.data import catalog

Rows = list[dict[str, Any]]


def chat(text: str) -> list[dict[str, str]]:
    return [{"content": text, "role": "user"}]


def text(number: int) -> str:
    return f"A train of {number} wagons passes {number + 3} bridges on its way. How many things is that?"


def answer(number: int) -> str:
    return str(2 * number + 3)


def klear(n: int) -> Rows:
    return [
        {
            "data_source": "math_longcot_math_verify",
            "prompt": chat(text(i)),
            "ability": "math",
            "reward_model": {"ground_truth": answer(i), "style": "rule"},
            "__index_level_0__": str(i),
        }
        for i in range(n)
    ]


def dapo(n: int) -> Rows:
    wrapper = catalog.dataset("DAPO-Math-17k").wrapper
    return [
        {
            "data_source": "math_dapo",
            "prompt": chat(f"{wrapper.before}{text(i)}{wrapper.after}"),
            "ability": "MATH",
            "reward_model": {"ground_truth": answer(i), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": f"row-{i}"},
        }
        for i in list(range(n)) * 3  # the real file repeats its problems, too
    ]


def deepscaler(n: int) -> Rows:
    return [{"problem": text(i), "answer": answer(i), "solution": ""} for i in range(n)]


def gsm8k(n: int) -> Rows:
    solved = "Wagons and bridges: <<1+2=3>>together.\n#### 1,"
    return [{"question": text(i), "answer": f"{solved}{100 + i}"} for i in range(n)]


def hendrycks(n: int) -> Rows:
    worked = "We add and get $\\boxed{\\frac{%s}{2}}$."
    return [
        {"problem": text(i), "level": "Level 1", "type": "Algebra", "solution": worked % answer(i)}
        for i in range(n)
    ]


def aime24(n: int) -> Rows:
    return [
        {
            "id": 60 + i,
            "problem": text(i),
            "solution": "",
            "answer": f"{i:03d}",
            "url": "",
            "year": "2024",
        }
        for i in range(n)
    ]


def aime25(n: int) -> Rows:
    return [{"problem": text(i), "answer": answer(i), "id": str(i)} for i in range(n)]


def hmmt25(n: int) -> Rows:
    return [
        {
            "problem_idx": i + 1,
            "problem": text(i),
            "answer": f"\\frac{{{i}}}{{7}}",
            "problem_type": ["Algebra"],
        }
        for i in range(n)
    ]


def math500(n: int) -> Rows:
    return [
        {
            "problem": text(i),
            "solution": "",
            "answer": f"\\sqrt{{{i}}}",
            "subject": "Algebra",
            "level": 2,
            "unique_id": f"test/algebra/{i}.json",
        }
        for i in range(n)
    ]


def amc23(n: int) -> Rows:
    return [{"id": i, "question": text(i), "answer": f"{i}.0", "url": ""} for i in range(n)]


def minerva(n: int) -> Rows:
    return [{"question": text(i), "answer": f"{i}e-3"} for i in range(n)]


def olympiad(n: int) -> Rows:
    return [
        {
            "id": 1600 + i,
            "question": text(i),
            "solution": ["worked"],
            "final_answer": [answer(i), "-1"] if i == 0 else [answer(i)],
            "context": None,
            "is_multiple_answer": i == 0,
            "unit": None,
            "answer_type": "Numerical",
        }
        for i in range(n)
    ]


ROWS: dict[str, Callable[[int], Rows]] = {
    "KlearReasoner-MathSub-30K": klear,
    "DAPO-Math-17k": dapo,
    "DeepScaleR": deepscaler,
    "GSM8K": gsm8k,
    "MATH": hendrycks,
    "AIME24": aime24,
    "AIME25": aime25,
    "HMMT25": hmmt25,
    "MATH500": math500,
    "AMC23": amc23,
    "Minerva": minerva,
    "OlympiadBench": olympiad,
}
ARRAYS = ("deepscaler.json",)  # a JSON array; other JSON sources have one object per line


def write(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.name in ARRAYS:
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def repository(name: str, folder: Path, n: int = 5) -> Path:
    """A copy of a repository: each of its files has its share of ``n`` problems, none has another's."""
    files = catalog.dataset(name).files
    for number, file in enumerate(files):
        rows = ROWS[name](n * len(files))
        write(folder / file, rows if len(files) == 1 else rows[number * n : (number + 1) * n])
    return folder
