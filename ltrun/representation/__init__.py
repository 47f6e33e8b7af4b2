"""Representation learning: terms of the loss that shape the feature space."""

from ltrun.representation.glmc import GLMC, GlobalLocalMixture
from ltrun.representation.paco import PaCo

__all__ = ["GLMC", "GlobalLocalMixture", "PaCo"]
