"""Figures of tables: values of classes by rank, shot groups, reliability, heat maps of confusion, ranks. Needs matplotlib."""

from ltrun.report.figures.classes import classes
from ltrun.report.figures.groups import groups
from ltrun.report.figures.heatmap import heat_map
from ltrun.report.figures.ranks import ranks
from ltrun.report.figures.reliability import reliability

__all__ = ["classes", "groups", "heat_map", "ranks", "reliability"]
