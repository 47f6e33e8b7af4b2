"""Tables and figures of finished runs. Needs neither torch nor hydra, and opens no checkpoint."""

from ltrun.report.collect import Problem, collect
from ltrun.report.group import tables
from ltrun.report.table import Cell, Row, Table

__all__ = ["Cell", "Problem", "Row", "Table", "collect", "tables"]
