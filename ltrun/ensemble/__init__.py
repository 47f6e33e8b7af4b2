"""Ensemble losses: terms that train several classifiers together."""

from ltrun.ensemble.balpoe import BalPoE
from ltrun.ensemble.bbn import BBN
from ltrun.ensemble.mdcs import MDCS
from ltrun.ensemble.ncl import NCL, NCLPlus
from ltrun.ensemble.reslt import ResLT
from ltrun.ensemble.ride import RIDE
from ltrun.ensemble.sade import SADE

__all__ = ["BBN", "BalPoE", "MDCS", "NCL", "NCLPlus", "RIDE", "ResLT", "SADE"]
