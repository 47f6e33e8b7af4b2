"""Classifiers: heads that turn features into logits."""

from ltrun.classifier.bags import GroupedHead
from ltrun.classifier.causal import Causal
from ltrun.classifier.cosine import Cosine
from ltrun.classifier.disalign import DisAlign
from ltrun.classifier.etf import ETF, DotRegression
from ltrun.classifier.gist import GISTHead
from ltrun.classifier.learnt_cosine import LearntCosine
from ltrun.classifier.linear import Linear
from ltrun.classifier.lws import LWS
from ltrun.classifier.meta_embedding import MetaEmbedding
from ltrun.classifier.prior_estimator import PriorEstimator
from ltrun.classifier.prototypes import Prototypes
from ltrun.classifier.realistic_taxonomic import DeepRTC, Taxonomic
from ltrun.classifier.simcal import DualHead

__all__ = [
    "Causal", "Cosine", "DeepRTC", "DisAlign", "DotRegression", "DualHead", "ETF", "GISTHead", "GroupedHead", "LWS",
    "LearntCosine", "Linear", "MetaEmbedding", "PriorEstimator", "Prototypes", "Taxonomic",
]  # fmt: skip
