"""Reports: tables, figures, a self-contained page, and beside each of them what it was made from."""

from cegppo_verl.reporting.report import ReportPaths, write_report
from cegppo_verl.reporting.runs import RunView

__all__ = ["ReportPaths", "RunView", "write_report"]
