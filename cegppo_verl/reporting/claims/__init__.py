"""A study: claims stated beforehand, decided by rule from the records of several grids."""

from cegppo_verl.reporting.claims.measures import MEASURES
from cegppo_verl.reporting.claims.page import build_study
from cegppo_verl.reporting.claims.verdict import Decided, Grid, decide

__all__ = ["MEASURES", "Decided", "Grid", "build_study", "decide"]
