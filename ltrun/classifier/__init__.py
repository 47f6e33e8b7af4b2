"""Classifiers: heads that turn features into logits."""

from ltrun.classifier.bags import GroupedHead
from ltrun.classifier.causal import Causal
from ltrun.classifier.cosine import Cosine
from ltrun.classifier.disalign import DisAlign
from ltrun.classifier.gist import GISTHead
from ltrun.classifier.learnt_cosine import LearntCosine
from ltrun.classifier.linear import Linear
from ltrun.classifier.lws import LWS
from ltrun.classifier.simcal import DualHead

__all__ = ["Causal", "Cosine", "DisAlign", "DualHead", "GISTHead", "GroupedHead", "LWS", "LearntCosine", "Linear"]
