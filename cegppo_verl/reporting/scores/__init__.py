"""Tables of scores with intervals: the paper's Tables 1 and 2, all benchmarks at once, sweeps."""

from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable
from cegppo_verl.reporting.scores.paper import paper_tables
from cegppo_verl.reporting.scores.published import Published, load_published
from cegppo_verl.reporting.scores.sweeps import sweep_tables

__all__ = [
    "Line",
    "Published",
    "Score",
    "ScoreTable",
    "load_published",
    "paper_tables",
    "sweep_tables",
]
