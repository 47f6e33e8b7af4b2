"""Re-sampling: samplers that draw the rows of an epoch."""

from ltrun.resampling.class_aware import ClassAware
from ltrun.resampling.class_difficulty import ClassDifficulty
from ltrun.resampling.deferred import Deferred
from ltrun.resampling.dynamic_curriculum import DynamicCurriculum
from ltrun.resampling.effective_number import EffectiveNumber
from ltrun.resampling.head_classes import HeadClasses
from ltrun.resampling.instance import Instance
from ltrun.resampling.masked_power import MaskedPower
from ltrun.resampling.meta import MetaSampler, RateRatio
from ltrun.resampling.power import Power
from ltrun.resampling.progressive import Progressive
from ltrun.resampling.repeat_factor import RepeatFactor
from ltrun.resampling.shot_group import ShotGroup

__all__ = [
    "ClassAware", "ClassDifficulty", "Deferred", "DynamicCurriculum", "EffectiveNumber", "HeadClasses", "Instance",
    "MaskedPower", "MetaSampler", "Power", "Progressive", "RateRatio", "RepeatFactor", "ShotGroup",
]  # fmt: skip
