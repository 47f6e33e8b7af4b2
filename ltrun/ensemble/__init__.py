"""Ensemble losses: terms that train several classifiers together."""

from ltrun.ensemble.ace import ACE, Paced
from ltrun.ensemble.bags import BAGS
from ltrun.ensemble.balpoe import BalPoE
from ltrun.ensemble.bbn import BBN
from ltrun.ensemble.ltml import LTML, LabelShareWeights
from ltrun.ensemble.mdcs import MDCS
from ltrun.ensemble.ncl import NCL, NCLPlus
from ltrun.ensemble.reslt import ResLT
from ltrun.ensemble.ride import RIDE
from ltrun.ensemble.ride_routing import RIDERouting
from ltrun.ensemble.sade import SADE
from ltrun.ensemble.shike import SHIKE
from ltrun.ensemble.tlc import TLC

__all__ = [
    "ACE", "BAGS", "BBN", "BalPoE", "LTML", "LabelShareWeights", "MDCS", "NCL", "NCLPlus", "Paced", "RIDE", "RIDERouting",
    "ResLT", "SADE", "SHIKE", "TLC",
]  # fmt: skip
