"""Regularised training: steps that look for flat minima, bounds and averages of weights."""

from ltrun.regularization.cc_sam import ClassConditionalSAM, FeatureSAM
from ltrun.regularization.imb_sam import ImbSAM
from ltrun.regularization.lookahead import Lookahead
from ltrun.regularization.max_norm import MaxNorm
from ltrun.regularization.sam import SAM
from ltrun.regularization.swa import SWA

__all__ = ["ClassConditionalSAM", "FeatureSAM", "ImbSAM", "Lookahead", "MaxNorm", "SAM", "SWA"]
