"""Margins: how far the true class's logit has to exceed the other logits."""

from ltrun.margin.gcl import GCL
from ltrun.margin.ldam import LDAM, LogitLDAM
from ltrun.margin.loce import LOCE
from ltrun.margin.pml import PML
from ltrun.margin.robal import RoBal
from ltrun.margin.uncertainty import UncertaintyMargin

__all__ = ["GCL", "LDAM", "LOCE", "PML", "LogitLDAM", "RoBal", "UncertaintyMargin"]
