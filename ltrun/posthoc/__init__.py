"""Post-hoc predictors: other scores from the outputs of a trained network. Each adds a row to the table of its run."""

from ltrun.posthoc.effective_prior import EffectivePrior
from ltrun.posthoc.knn import KNN
from ltrun.posthoc.label_shift_em import LabelShiftEM
from ltrun.posthoc.logit_adjustment import LogitAdjustment
from ltrun.posthoc.meta_model_net import MetaModelNet
from ltrun.posthoc.ncm import NCM
from ltrun.posthoc.pc_softmax import PCSoftmax
from ltrun.posthoc.sade_aggregation import SADEAggregation
from ltrun.posthoc.tau_norm import TauNorm
from ltrun.posthoc.tde import TDE
from ltrun.posthoc.temperature_scaling import TemperatureScaling
from ltrun.posthoc.thresholds import Thresholds
from ltrun.posthoc.uno_ic import UNOIC, LikelihoodFlattening

__all__ = [
    "EffectivePrior", "KNN", "LabelShiftEM", "LikelihoodFlattening", "LogitAdjustment", "MetaModelNet", "NCM", "PCSoftmax",
    "SADEAggregation", "TDE", "TauNorm", "TemperatureScaling", "Thresholds", "UNOIC",
]  # fmt: skip
