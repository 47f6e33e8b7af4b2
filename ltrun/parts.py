"""The slots of a method: what a part receives and returns.

A part is a module that lives in one file with one YAML beside it. It writes only itself: what it learns over time it keeps
in buffers, written in place by `adapt` between epochs or by `after_step`, so that checkpoints carry it and compiled steps
see it. Constructor arguments come from the configuration, except the keyword-only ones named in `CONTEXT`, which ltrun
injects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.types import Batch, Clock, Labels, Outputs, Streams, View

CONTEXT = {
    "stats": "ClassStats of the training set",
    "num_classes": "int",
    "in_channels": "int: channels of an image",
    "channels_last": "bool: whether the channels of a pixel lie side by side in memory, as runtime.channels_last says",
    "classify": "Classification: the run's margin, logit adjustment and weights as one loss",
    "backbone": "Backbone: the network group's choice",
    "make_head": "(features) -> Head: the classifier group's choice",
    "features": "int: D, the length of the features that a head or a projector receives",
    "head": "Head that a classifier wraps: the one trained so far",
    "sampler": "Sampler of stream main",
    "outer": "list of the parameters of the parts with `outer`, which an update learns",
}


class Part(nn.Module):
    """reads: the fields of Outputs it needs. balances: True where it counters the class prior by itself.

    outer: True where its parameters are learnt by the update, such as Bilevel, and not by the optimizer. acts_from: index of
    the first epoch of a stage in which it differs from plain training: 1 where it is deferred or first has to see an epoch.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    balances: ClassVar[bool] = False
    outer: ClassVar[bool] = False
    acts_from: ClassVar[int] = 0

    def adapt(self, view: View) -> None:
        """Called before each epoch; follows the clock or the network by writing this part's buffers in place."""

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        """Called after each optimizer step with the step's detached outputs."""


class Sampler(Part):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        """(N,) int64 row numbers of one whole epoch; N may differ from len(targets). A function of its arguments."""
        raise NotImplementedError


class Prepare(Part):
    """The way from inputs as a data set stores them to what a network reads; the data set owns it."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) as stored -> (B, ...) float32."""
        raise NotImplementedError


class Augment(Part):
    def forward(self, batch: Batch) -> Batch:
        """Inputs as stored in and out, such as uint8 images, each its own draw from the device's default generator."""
        raise NotImplementedError


class Mixer(Part):
    """streams: names of the streams it reads besides those it rewrites."""

    streams: ClassVar[tuple[str, ...]] = ("main",)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        """Prepared inputs in and out; may combine streams and concatenate label columns."""
        raise NotImplementedError


class Adjust(Part):
    reads = frozenset({"logits"})

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """(B, C) logits of the loss, given the logits (B, C) and one hard label a row (B,)."""
        raise NotImplementedError


class Weigh(Part):
    """mean: 'weights' divides the loss by the sum of the weights (PyTorch's weighted mean), 'batch' by B."""

    reads = frozenset({"logits"})
    mean: Literal["weights", "batch"] = "weights"

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """(B,) weights of the rows' losses, given adjusted logits (B, C) and one hard label a row (B,)."""
        raise NotImplementedError


class Criterion(Part):
    """The loss of a row, cross-entropy of the softmax unless an option says otherwise."""

    reads = frozenset({"logits"})

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """(B,) losses, given adjusted logits (B, C) and one hard label a row (B,)."""
        raise NotImplementedError


class Term(Part):
    """One summand of the objective. streams: those whose outputs it reads. mixed: whether it accepts mixed labels."""

    streams: ClassVar[tuple[str, ...]] = ("main",)
    mixed: ClassVar[bool] = True
    reads = frozenset({"logits"})

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        """A scalar."""
        raise NotImplementedError


class Head(Part):
    """A classifier: forward(features (B, D)) -> logits (B, C). scale: what it multiplies cosines by.

    provides: what parts may read of its logits beyond their values: 'cosines' where logits are scaled cosines, 'products' where
    they are features times `classes`, and a bias. keeps: of a head that wraps another, what the other provides and is still so
    of its own logits; 'head' among it where `classes` are the weights that make them.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = frozenset()
    scale: float = 1.0

    def forward(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def classes(self) -> Tensor:
        """(C, D): the weight of each class."""
        raise NotImplementedError


class Backbone(nn.Module):
    """features: D. forward: images (B, channels, H, W) -> features (B, D). pixels: the sides of images that it is made for."""

    features: int
    pixels: ClassVar[tuple[int, int] | None] = None

    def fork(self, after: str, copies: int, width: float = 1.0) -> tuple[nn.Module, list[Backbone]]:
        """Cuts the backbone after a named block: the shared trunk, and `copies` branches that each end in features.

        The branches are new modules whose channels are `width` times the original ones. The backbone is used up.
        """
        raise ConfigError(f"network: {type(self).__name__} cannot be forked into branches; choose ensemble=none")


class Network(Part):
    """provides: the fields of Outputs it fills. streams: the streams that its forward pass reads together."""

    provides: ClassVar[frozenset[str]] = frozenset({"features", "logits", "head"})
    streams: ClassVar[tuple[str, ...]] = ()

    def encode(self, inputs: Tensor) -> Tensor:
        """Prepared inputs -> features (..., B, D), those of several branches stacked in front."""
        raise NotImplementedError

    def decide(self, features: Tensor) -> Outputs:
        """Features as `encode` gives them -> outputs."""
        raise NotImplementedError

    def predict(self, inputs: Tensor) -> Outputs:
        """Outputs of one batch of prepared inputs, as at test time."""
        return self.decide(self.encode(inputs))

    def forward(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        """Outputs of each stream named in `need`, in training."""
        return {name: self.predict(streams[name].inputs) for name in need}

    def head_names(self) -> list[str]:
        """Names of the submodules that are classifier heads: 'head', or 'heads.0' and so on."""
        return [name for name, module in self.named_modules() if isinstance(module, Head) and name.count("head") == 1]


class Evidence(Protocol):
    """One split as a post-hoc part sees it: the fields of Outputs that the part's `reads` names, without gradient, on the host.

    augment: as in training, a new draw each epoch.
    """

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        """The split in order, batch by batch: nothing of it is kept."""

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        """The whole split in order, all of it in memory."""

    @property
    def labels(self) -> Tensor:
        """(N,); raises PermissionError on test inputs."""


EVIDENCE = frozenset({"train", "val", "test_inputs"})  # what a post-hoc part may see


class PostHoc(Part):
    """Turns the outputs of a trained network into scores: a further row of the table. sees: splits that `fit` uses.

    views: what follows the data set's own augmentations where the part asks for augmented evidence. Where a part sets none,
    views are augmented as the training stream is.
    """

    sees: ClassVar[frozenset[str]] = frozenset()
    reads = frozenset({"logits"})
    views: Augment | None  # without a value here, which would hide the module that a part sets

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        """Learns from the splits named in `sees`, which are among `EVIDENCE`."""

    def forward(self, outputs: Outputs) -> Tensor:
        """(B, C) scores, higher is likelier; softmax of them is the confidence. A row's scores depend on no other row."""
        raise NotImplementedError


class Update(Part):
    """How the objective's gradient becomes a step: plain descent, sharpness-aware, bilevel."""

    def forward(
        self, objective: nn.Module, optimizer: Descent, streams: Streams
    ) -> tuple[dict[str, Tensor], dict[str, Outputs], Streams]:
        """Does one step. Returns the value of each term and 'total', the outputs, and the streams as the terms saw them."""
        raise NotImplementedError


class Descent(Protocol):
    """What moves the parameters by their gradients; a torch.optim.Optimizer is one.

    param_groups: mappings with 'params' and 'lr'. A rate that is a tensor is written in place, so that a captured step sees it.
    """

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


__all__ = [
    "CONTEXT", "Adjust", "Augment", "Backbone", "Criterion", "Descent", "Evidence", "Head", "Mixer", "Network",
    "Part", "PostHoc", "Prepare", "Sampler", "Term", "Update", "Weigh",
]  # fmt: skip
