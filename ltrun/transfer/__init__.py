"""Transfer of knowledge: pre-training, distillation from teachers, transfer from head to tail classes, self-training."""

from ltrun.transfer.ftl import FTL
from ltrun.transfer.gist import GIST

__all__ = ["FTL", "GIST"]
