"""Representation learning: terms of the loss that shape the feature space."""

from ltrun.representation.class_rectification import CRL
from ltrun.representation.npe import NPE
from ltrun.representation.oltr import DiscriminativeCentroids
from ltrun.representation.paco import PaCo
from ltrun.representation.range_loss import RangeLoss

__all__ = ["CRL", "DiscriminativeCentroids", "NPE", "PaCo", "RangeLoss"]
