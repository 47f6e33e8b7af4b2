"""Representation learning: terms of the loss that shape the feature space."""

from ltrun.representation.bcl import BCL
from ltrun.representation.class_rectification import CRL
from ltrun.representation.dro_lt import DROLT, FrequencyWeights
from ltrun.representation.glmc import GLMC, GlobalLocalMixture
from ltrun.representation.gml import GML
from ltrun.representation.gpaco import GPaCo
from ltrun.representation.hybrid import HybridPSC, HybridSC
from ltrun.representation.kcl import KCL, KCLQueue
from ltrun.representation.npe import NPE
from ltrun.representation.oltr import DiscriminativeCentroids
from ltrun.representation.paco import PaCo
from ltrun.representation.proco import ProCo
from ltrun.representation.range_loss import RangeLoss
from ltrun.representation.sbcl import SBCL
from ltrun.representation.supcon import SupCon
from ltrun.representation.tsc import TSC, TSCQueue

__all__ = [
    "BCL", "CRL", "DROLT", "DiscriminativeCentroids", "FrequencyWeights", "GLMC", "GML", "GPaCo", "GlobalLocalMixture",
    "HybridPSC", "HybridSC", "KCL", "KCLQueue", "NPE", "PaCo", "ProCo", "RangeLoss", "SBCL", "SupCon",
    "TSC", "TSCQueue", ]  # fmt: skip
