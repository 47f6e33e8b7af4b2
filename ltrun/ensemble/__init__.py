"""Ensemble losses: terms that train several classifiers together."""

from ltrun.ensemble.bbn import BBN
from ltrun.ensemble.ride import RIDE
from ltrun.ensemble.sade import SADE

__all__ = ["BBN", "RIDE", "SADE"]
