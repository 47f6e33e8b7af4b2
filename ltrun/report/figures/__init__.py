"""Figures of tables: values of classes by rank, shot groups, reliability, and heat maps of confusion. Needs matplotlib."""

from ltrun.report.figures.classes import classes
from ltrun.report.figures.groups import groups
from ltrun.report.figures.heatmap import heat_map
from ltrun.report.figures.reliability import reliability

__all__ = ["classes", "groups", "heat_map", "reliability"]
