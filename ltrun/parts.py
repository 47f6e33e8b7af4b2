"""Base classes of a method's parts: the arguments and results of each kind.

A part is a module in a file of its own, with a YAML file that makes it an option. It changes only itself: it keeps what it
learns over time in buffers, written in place by `adapt` between epochs or by `after_step`, so that checkpoints save them and
compiled steps see them. Constructor arguments come from the configuration, but ltrun injects those of `CONTEXT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from ltrun.backbone import Backbone, Piece
from ltrun.cuts import Crop, Frames
from ltrun.descent import Descent, Objective, Outcome
from ltrun.evidence import EVIDENCE, Evidence
from ltrun.metrics import BOTH, SINGLE_LABEL
from ltrun.taxonomy import CONTEXT
from ltrun.types import Batch, Clock, Outputs, Streams, View


class Part(nn.Module):
    """reads: fields of Outputs that it needs. balances: whether it counters the class prior by itself.

    outer: whether the update, such as Bilevel, learns its parameters in place of the optimizer. acts_from: index of the first
    epoch of a stage in which it differs from plain training: 1 if it is deferred or observes an epoch first. accepts: tasks.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    balances: ClassVar[bool] = False
    outer: ClassVar[bool] = False
    acts_from: ClassVar[int] = 0
    accepts: ClassVar[frozenset[str]] = frozenset({SINGLE_LABEL})

    def adapt(self, view: View) -> None:
        """Called before each epoch; updates this part's buffers in place from the clock or the network."""

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        """Called after each optimizer step with the step's detached outputs."""


class Sampler(Part):
    def draw(self, targets: Any, clock: Clock, generator: torch.Generator) -> Tensor:
        """Returns (N,) int64 row numbers of one epoch, a function of its arguments alone; N may differ from len(targets).
        Or (N, 2): rows, and the class for which each is drawn, so that a row's other labels do not count.
        targets: Labels, or MultiHot where `accepts` has several labels."""
        raise NotImplementedError


class Prepare(Part):
    """Converts inputs as a data set stores them to inputs of a network; the data set chooses it."""

    accepts = BOTH

    def forward(self, inputs: Tensor) -> Tensor:
        """Converts (B, ...) as stored to (B, ...) float32."""
        raise NotImplementedError


class Augment(Part):
    """first: whether it needs images as stored, and so comes before the data set's own. maps: whether it reads `View.maps`.
    cuts: what it takes a random part of, 'photographs' or 'videos'; empty if nothing.
    Where a store reads such files for each batch, `crop` then says which part it keeps, and `forward` is left out; a store of
    decoded inputs has `forward` do it. levels: number of strengths that it has. level_given: (B,) strength of each image,
    while a test or a picture asks for it; None in training."""

    accepts = BOTH
    first: ClassVar[bool] = False
    maps: ClassVar[bool] = False
    cuts: ClassVar[Literal["", "photographs", "videos"]] = ""
    crop: Crop | Frames | None = None
    levels: int = 1
    level_given: Tensor | None = None

    def forward(self, batch: Batch) -> Batch:
        """Takes and returns inputs as stored, such as uint8 images; draws for each from the device's default generator."""
        raise NotImplementedError

    def fused_with(self, prepare: Prepare) -> Callable[[Batch], Batch] | None:
        """Returns this part followed by `prepare` as one operation, with the same draws and results; None if there is none.

        The operation takes a batch as stored and returns it prepared. runtime.levers=[image_kernel] asks for it.
        """
        return None


class Mixer(Part):
    """streams: names of the streams that it reads. videos: whether it takes features of frames in place of images."""

    streams: ClassVar[tuple[str, ...]] = ("main",)
    videos: ClassVar[bool] = False

    def forward(self, streams: Streams) -> dict[str, Batch]:
        """Takes and returns prepared inputs; may combine streams and concatenate label columns."""
        raise NotImplementedError


class FeatureMixer(Part):
    """Changes images, maps or features of streams on their way through the network, in training alone.

    points: where it acts, in order: 'inputs' (prepared images), a place inside the backbone such as 'layer2' (maps after it),
    or 'features' (as `Network.encode` returns them, with the dimension of rows in front). streams: names of the streams that it
    needs there.
    """

    streams: ClassVar[tuple[str, ...]] = ("main",)
    points: Sequence[str] = ()

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        """Takes whole batches whose `inputs` are the maps (B, ...) at a point. Returns the batches to go on with, and further
        scalar losses by name. Labels and the number of rows may change, alike in all streams that terms read.
        """
        raise NotImplementedError


class Adjust(Part):
    reads = frozenset({"logits"})

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """Returns (B, C) logits for the loss, given logits (B, C) and one hard label per row (B,), or several (B, C)."""
        raise NotImplementedError


class Weigh(Part):
    """mean: 'weights' divides the loss by the sum of the weights (PyTorch's weighted mean), 'batch' by B. mean_of_entries: the
    same where rows have several labels; 'entries' leaves the criterion's own mean."""

    reads = frozenset({"logits"})
    mean: Literal["weights", "batch"] = "weights"
    mean_of_entries: Literal["weights", "entries"] = "entries"

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """Returns weights of the losses, in the shape of the labels, given adjusted logits (B, C).

        labels: (B,), one hard label per row; or (B, C), 1 for each label of a row, between 0 and 1 where rows are mixed.
        """
        raise NotImplementedError


class Criterion(Part):
    """The loss of a row, or of each class of a row that has several labels: cross-entropy, unless an option replaces it.

    mean: of several labels, 'entries' divides the sum of the losses by B x C, 'rows' by B.
    """

    reads = frozenset({"logits"})
    mean: Literal["entries", "rows"] = "entries"

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        """Returns losses in the shape of the labels, given adjusted logits (B, C). labels: see `Weigh.forward`."""
        raise NotImplementedError


class Term(Part):
    """One summand of the objective. streams: names of those whose outputs it reads. mixed: whether it accepts mixed labels.

    teachers: names of the teachers whose outputs for stream main it reads, beside the outputs of its streams.
    """

    streams: ClassVar[tuple[str, ...]] = ("main",)
    teachers: Sequence[str] = ()
    mixed: ClassVar[bool] = True
    reads = frozenset({"logits"})

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        """Returns a scalar."""
        raise NotImplementedError


class Head(Part):
    """A classifier: forward(features (B, D)) -> logits (B, C). scale: its factor of the cosines, 1 without cosines.

    provides: properties of its logits that other parts may need: 'cosines' if they are scaled cosines, 'products' if they are
    features times `classes` plus a bias. keeps, in a head that wraps another: properties of the other head's logits that its
    own share; 'head' is among them if `classes` are the weights that produce its own logits.
    """

    accepts = BOTH
    provides: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = frozenset()
    scale: float = 1.0

    def forward(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def classes(self) -> Tensor:
        """(C, D) class weights."""
        raise NotImplementedError


class Network(Part):
    """provides: fields of Outputs that it fills. streams: names of the streams that its forward pass reads together. terms:
    names of the terms without which a part of it is not trained. adaptive: whether the work of a prediction depends on the
    image.
    """

    accepts = BOTH
    provides: ClassVar[frozenset[str]] = frozenset({"features", "logits", "head"})
    streams: ClassVar[tuple[str, ...]] = ()
    terms: ClassVar[tuple[str, ...]] = ()
    adaptive: ClassVar[bool] = False

    @classmethod
    def places_of(cls, arguments: Mapping[str, Any]) -> list[str] | None:
        """Returns the places of feature mixers in a network with these arguments; None where its backbone decides."""
        return None

    def encode(self, inputs: Tensor) -> Tensor:
        """Returns the features (..., B, D) of prepared inputs; a network with branches stacks theirs in front."""
        raise NotImplementedError

    def decide(self, features: Tensor) -> Outputs:
        """Returns the outputs for features as `encode` returns them."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """The length of Outputs.features: of the features that its heads read, side by side."""
        heads = [cast(Head, self.get_submodule(name)) for name in self.head_names()]
        return sum(head.classes.shape[1] for head in heads)

    def pieces(self) -> list[Piece]:
        """Returns the pieces that `encode` consists of, as a backbone does."""
        backbone = dict(self.named_children()).get("backbone")
        return backbone.pieces() if isinstance(backbone, Backbone) else [("features", self.encode)]

    def predict(self, inputs: Tensor) -> Outputs:
        """Returns the outputs of one batch of prepared inputs, as at test time."""
        return self.decide(self.encode(inputs))

    def forward(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        """Returns the outputs of each stream named in `need`, as in training."""
        return {name: self.predict(streams[name].inputs) for name in need}

    def head_names(self) -> list[str]:
        """Returns the names of the outermost submodules that are classifier heads: 'head', or 'heads.0' and so on."""
        found: list[str] = []
        for name, module in self.named_modules():  # a module comes before the modules inside it
            if isinstance(module, Head) and not name.startswith(tuple(f"{head}." for head in found)):
                found.append(name)
        return found


class PostHoc(Part):
    """Turns the outputs of a trained network into scores: a further row of the table. sees: splits that `fit` uses.
    views: augmentation of augmented evidence, after the data set's own; a part without `views` gets the training stream's.
    """

    sees: ClassVar[frozenset[str]] = frozenset()
    reads = frozenset({"logits"})
    views: Augment | None  # no value here: it would hide the module that a part sets

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        """Learns from the splits named in `sees`, which are among `EVIDENCE`."""

    def forward(self, outputs: Outputs) -> Tensor:
        """Returns (B, C) scores, higher is likelier; their softmax is the confidence. A row's scores depend on no other row."""
        raise NotImplementedError


class Update(Part):
    """One step of training from the objective's gradient: plain descent, sharpness-aware, bilevel."""

    accepts = BOTH

    def forward(self, objective: Objective, optimizer: Descent, streams: Streams) -> Outcome:
        """Does one step. Returns the value of each term and 'total', the outputs, and the streams as the terms saw them."""
        raise NotImplementedError


class Average(Part):
    """An average of the network's weights over the epochs of a stage, which is evaluated and kept in their place."""

    accepts = BOTH

    def share(self, clock: Clock) -> float | None:
        """Returns the share of the weights at the end of this epoch in the average; None before averaging begins."""
        raise NotImplementedError


__all__ = [
    "CONTEXT", "EVIDENCE", "Adjust", "Augment", "Average", "Backbone", "Criterion", "Crop", "Descent", "Evidence",
    "FeatureMixer", "Frames", "Head", "Mixer", "Network", "Objective", "Outcome", "Part", "Piece", "PostHoc", "Prepare",
    "Sampler", "Term", "Update", "Weigh",
]  # fmt: skip
