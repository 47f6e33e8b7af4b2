"""Representation learning: terms of the loss that shape the feature space."""

from ltrun.representation.bcl import BCL
from ltrun.representation.dro_lt import DROLT, FrequencyWeights
from ltrun.representation.gml import GML
from ltrun.representation.gpaco import GPaCo
from ltrun.representation.paco import PaCo
from ltrun.representation.proco import ProCo

__all__ = ["BCL", "DROLT", "GML", "FrequencyWeights", "GPaCo", "PaCo", "ProCo"]
