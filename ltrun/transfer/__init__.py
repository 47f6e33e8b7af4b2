"""Transfer of knowledge: pre-training, distillation from teachers, transfer from head to tail classes, self-training."""

from ltrun.transfer.auxiliary_balanced_classifier import ABC, ABCConsistency
from ltrun.transfer.class_balanced_distillation import ClassBalancedDistillation
from ltrun.transfer.crest import CReST, CReSTPool
from ltrun.transfer.darp import DARP
from ltrun.transfer.distribution_alignment import DistributionAlignment
from ltrun.transfer.dive import DiVE
from ltrun.transfer.fixmatch import FixMatch
from ltrun.transfer.ftl import FTL
from ltrun.transfer.gist import GIST
from ltrun.transfer.knowledge_review import KnowledgeReview
from ltrun.transfer.knowledge_summary import KnowledgeSummary
from ltrun.transfer.lfme import LFME
from ltrun.transfer.moco import MoCo
from ltrun.transfer.ride_distillation import RIDEDistillation
from ltrun.transfer.rotation import RotationPrediction, Rotations
from ltrun.transfer.ssd import SSD, LabelledContrast
from ltrun.transfer.xerm import XERM

__all__ = [
    "ABC", "ABCConsistency", "CReST", "CReSTPool", "ClassBalancedDistillation", "DARP", "DiVE", "DistributionAlignment",
    "FTL", "FixMatch", "GIST", "KnowledgeReview", "KnowledgeSummary", "LFME", "LabelledContrast", "MoCo",
    "RIDEDistillation", "RotationPrediction", "Rotations", "SSD", "XERM",
]  # fmt: skip
