"""The two figures of every long-tailed paper: each class against its rank, and the shot groups. Needs matplotlib."""

from ltrun.report.figures.classes import classes
from ltrun.report.figures.groups import groups

__all__ = ["classes", "groups"]
