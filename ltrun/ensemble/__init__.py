"""Ensemble losses: terms that train several classifiers together."""

from ltrun.ensemble.bbn import BBN
from ltrun.ensemble.ride import RIDE
from ltrun.ensemble.ride_routing import RIDERouting
from ltrun.ensemble.sade import SADE
from ltrun.ensemble.shike import SHIKE

__all__ = ["BBN", "RIDE", "RIDERouting", "SADE", "SHIKE"]
