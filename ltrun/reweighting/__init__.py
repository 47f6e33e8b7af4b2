"""Re-weighting: weights of the rows' losses, and criteria that re-weight the terms of a loss."""

from ltrun.reweighting.adaptive_class_suppression import AdaptiveClassSuppression
from ltrun.reweighting.asymmetric import Asymmetric, AsymmetricSoftmax
from ltrun.reweighting.class_difficulty_balanced import ClassDifficultyBalanced
from ltrun.reweighting.deferred import Deferred, DeferredCriterion
from ltrun.reweighting.effective_number import EffectiveNumber
from ltrun.reweighting.equalization import SigmoidEqualization, SoftmaxEqualization
from ltrun.reweighting.equalization_v2 import EqualizationV2
from ltrun.reweighting.focal import Focal
from ltrun.reweighting.influence_balanced import InfluenceBalanced
from ltrun.reweighting.inverse_frequency import InverseFrequency
from ltrun.reweighting.label_aware_smoothing import LabelAwareSmoothing
from ltrun.reweighting.meta_weight_net import MetaWeightNet
from ltrun.reweighting.rebalanced import Rebalanced
from ltrun.reweighting.sigmoid import SigmoidFocal
from ltrun.reweighting.sum_of_classes import SumOfClasses

__all__ = [
    "AdaptiveClassSuppression", "Asymmetric", "AsymmetricSoftmax", "ClassDifficultyBalanced", "Deferred", "DeferredCriterion",
    "EffectiveNumber", "EqualizationV2", "Focal", "InfluenceBalanced", "InverseFrequency", "LabelAwareSmoothing",
    "MetaWeightNet", "Rebalanced", "SigmoidEqualization", "SigmoidFocal", "SoftmaxEqualization",
    "SumOfClasses",
]  # fmt: skip
