"""The two figures of every long-tailed paper, each class against its rank and the shot groups; heat maps. Needs matplotlib."""

from ltrun.report.figures.classes import classes
from ltrun.report.figures.groups import groups
from ltrun.report.figures.heatmap import heat_map

__all__ = ["classes", "groups", "heat_map"]
