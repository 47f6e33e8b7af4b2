"""Figures of tables: values of classes by rank, shot groups, and heat maps of confusion. Needs matplotlib."""

from ltrun.report.figures.classes import classes
from ltrun.report.figures.groups import groups
from ltrun.report.figures.heatmap import heat_map

__all__ = ["classes", "groups", "heat_map"]
