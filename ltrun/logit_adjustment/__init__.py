"""Logit adjustment in training: the class prior enters the loss, so that the network need not learn it."""

from ltrun.logit_adjustment.balanced_softmax import BalancedSoftmax
from ltrun.logit_adjustment.bayias import Bayias
from ltrun.logit_adjustment.cdt import CDT
from ltrun.logit_adjustment.deferred import Deferred
from ltrun.logit_adjustment.lade import LADE
from ltrun.logit_adjustment.logit_adjustment import LogitAdjustment
from ltrun.logit_adjustment.negative_tolerant import NegativeTolerant, NegativeTolerantWeights
from ltrun.logit_adjustment.seesaw import Seesaw
from ltrun.logit_adjustment.vs import VS

__all__ = [
    "LADE", "VS", "CDT", "BalancedSoftmax", "Bayias", "Deferred", "LogitAdjustment", "NegativeTolerant",
    "NegativeTolerantWeights", "Seesaw",
]  # fmt: skip
