"""Representation learning: terms of the loss that shape the feature space."""

from ltrun.representation.hybrid import HybridPSC, HybridSC
from ltrun.representation.kcl import KCL, KCLQueue
from ltrun.representation.paco import PaCo
from ltrun.representation.sbcl import SBCL
from ltrun.representation.supcon import SupCon
from ltrun.representation.tsc import TSC, TSCQueue

__all__ = ["KCL", "SBCL", "TSC", "HybridPSC", "HybridSC", "KCLQueue", "PaCo", "SupCon", "TSCQueue"]
