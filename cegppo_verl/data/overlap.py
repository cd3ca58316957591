"""How much of a benchmark is in a training set: shared 9-grams of words.

Nine words as in the deduplication that the paper reports of its training set (arXiv 2509.20712, 4.1); how it
normalised them it does not say. Ours: Unicode NFKC, case folded, letters and digits are words and everything
else separates them, so ``$\\frac{1}{2}$`` reads "frac 1 2".

One shared 9-gram need not mean a shared problem ("find the remainder when n is divided by 1000" is nine
words). So per problem of the benchmark the training problem that shares most is reported, with the share.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

N = 9
HALF = 0.5
_WORD = re.compile(r"[^\W_]+")
_CHUNK = 2_000_000  # characters of training text that are looked at together
_OTHER = -1  # a word that no benchmark has, and the gap between two problems

Text = tuple[str, str]  # (id, text)


@dataclass
class Match:
    """What one problem of a benchmark shares with the training set.

    Attributes:
        grams: how many different 9-grams it has; 0 when it is shorter than nine words.
        train: how many training problems share at least one.
        best: the id of the one that shares most, ``shared`` of the 9-grams; "" when there is none.
        same: the id of a training problem with exactly the same words, or "".
        example: one 9-gram shared with ``best``.
    """

    id: str
    grams: int
    train: int = 0
    best: str = ""
    shared: int = 0
    same: str = ""
    example: str = ""

    @property
    def share(self) -> float:
        """The part of its 9-grams that the best training problem has, 0 to 1."""
        return self.shared / self.grams if self.grams else float(bool(self.same))


@dataclass
class Index:
    """9-grams of all benchmark problems, as bytes of word numbers."""

    problems: list[Match] = field(default_factory=list)
    vocabulary: dict[str, int] = field(default_factory=dict)
    owners: dict[bytes, list[int]] = field(default_factory=dict)
    whole: dict[str, list[int]] = field(default_factory=dict)

    def add(self, problem: Text) -> None:
        """Put one benchmark problem in."""
        number, found = len(self.problems), words(problem[1])
        ids = np.array([self.vocabulary.setdefault(word, len(self.vocabulary)) for word in found], np.int32)
        grams = {ids[i : i + N].tobytes() for i in range(len(found) - N + 1)}
        for gram in grams:
            self.owners.setdefault(gram, []).append(number)
        self.whole.setdefault(" ".join(found), []).append(number)
        self.problems.append(Match(problem[0], len(grams)))


def words(text: str) -> list[str]:
    """The words of a problem, normalised."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def compare(train: Iterable[Text], benchmark: Sequence[Text]) -> list[Match]:
    """One :class:`Match` per problem of the benchmark, in its order. Time is linear in the words of both."""
    index = Index()
    for problem in benchmark:
        index.add(problem)
    for chunk in _chunks(train):
        _scan(index, chunk)
    return index.problems


def _chunks(train: Iterable[Text]) -> Iterable[list[Text]]:
    chunk: list[Text] = []
    size = 0
    for problem in train:
        chunk.append(problem)
        size += len(problem[1])
        if size > _CHUNK:
            yield chunk
            chunk, size = [], 0
    yield chunk


def _scan(index: Index, chunk: Sequence[Text]) -> None:
    """Numbers of all words in a row; only windows without a foreign word are looked up."""
    ids, starts = _numbers(index, chunk)
    foreign = np.concatenate([[0], np.cumsum(ids == _OTHER)])
    places = np.flatnonzero(foreign[N:] == foreign[:-N]) if len(ids) >= N else np.empty(0, np.int64)
    data, width = ids.tobytes(), ids.itemsize
    shared: dict[tuple[int, int], set[bytes]] = {}
    for place, owner in zip(places, np.searchsorted(starts, places, side="right") - 1, strict=True):
        gram = data[place * width : (place + N) * width]
        for number in index.owners.get(gram, ()):
            shared.setdefault((int(owner), number), set()).add(gram)
    _note(index, chunk, shared)


def _numbers(index: Index, chunk: Sequence[Text]) -> tuple[np.ndarray, np.ndarray]:
    """Word numbers of all problems with a gap after each, and where each problem begins."""
    ids: list[int] = []
    starts: list[int] = []
    number = index.vocabulary.get
    for name, text in chunk:
        starts.append(len(ids))
        found = words(text)
        for problem in index.whole.get(" ".join(found), ()):
            index.problems[problem].same = index.problems[problem].same or name
        ids.extend(number(word, _OTHER) for word in found)
        ids.append(_OTHER)
    return np.array(ids, np.int32), np.array(starts, np.int64)


def _note(index: Index, chunk: Sequence[Text], shared: dict[tuple[int, int], set[bytes]]) -> None:
    spelling = list(index.vocabulary) if shared else []
    for (owner, number), grams in shared.items():
        match = index.problems[number]
        match.train += 1
        if len(grams) > match.shared:
            match.best, match.shared = chunk[owner][0], len(grams)
            match.example = " ".join(spelling[i] for i in np.frombuffer(min(grams), np.int32))
