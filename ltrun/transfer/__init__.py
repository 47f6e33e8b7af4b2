"""Transfer of knowledge: pre-training, distillation from teachers, transfer from head to tail classes, self-training."""

from ltrun.transfer.auxiliary_balanced_classifier import ABC, ABCConsistency
from ltrun.transfer.crest import CReST, CReSTPool
from ltrun.transfer.darp import DARP
from ltrun.transfer.distribution_alignment import DistributionAlignment
from ltrun.transfer.fixmatch import FixMatch, FixMatchTwice

__all__ = ["ABC", "DARP", "ABCConsistency", "CReST", "CReSTPool", "DistributionAlignment", "FixMatch", "FixMatchTwice"]
