"""Learning-rate schedules over the epochs of a stage. Lengths are fractions, so that `epochs=` scales them."""

from ltrun.schedule.cosine import Cosine
from ltrun.schedule.multistep import MultiStep

__all__ = ["Cosine", "MultiStep"]
