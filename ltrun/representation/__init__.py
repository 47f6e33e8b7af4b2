"""Representation learning: terms of the loss that shape the feature space."""

from ltrun.representation.paco import PaCo

__all__ = ["PaCo"]
