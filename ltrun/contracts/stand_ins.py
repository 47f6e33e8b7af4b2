"""Stand-ins for the arguments of a part in training: class counts at the edges, batches, outputs, splits, a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.config.bind import Bound
from ltrun.contracts.contract import BrokenContract
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.metrics import SINGLE_LABEL
from ltrun.parts import Part
from ltrun.recipe.stage import MAIN, Stage
from ltrun.types import Batch, ClassStats, Clock, Labels, MultiHot, Outputs, Targets, View

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]), rows=570)  # one class with a single image, one with none
RARE = ClassStats(torch.tensor([500, 60, 9, 4, 0]), rows=573)  # the rarest class with images has four
SMALL, INATURALIST = 3, 8_142
FIRST, LAST = Clock("train", 0, 200), Clock("train", 199, 200)  # before and after all deferred parts switch on
SHORT = Clock("train", 0, 1)  # the only epoch of a stage
DTYPES = [torch.float32, torch.bfloat16]
BATCHES = {"batch of one": [3], "one class": [0, 0, 0], "no class 4": [0, 1, 2, 3, 3]}  # a label of each row
NONE = -1  # in place of a label, where rows may have several: a row without any
SCALE, FEATURES = 30.0, 16
WAY_OUT = "count a class without images as the rarest (ltrun.types.as_rarest), and do not divide by a value that may be 0"
EXTREMES = (0.0, 1e-6, 60.0, 1e4)


def tail(classes: int) -> ClassStats:
    return ClassStats((1000 * torch.arange(1, classes + 1) ** -0.9).long().clamp(min=2))


def given(stats: ClassStats, **more: Any) -> dict[str, Any]:
    """Returns the context of a constructor."""
    images = {"in_channels": 1, "input_shape": torch.Size((1, 8, 8)), "channels_last": False, "unlabelled": 20}
    return {"stats": stats, "num_classes": stats.num_classes, **images, **more}


def blind_view(clock: Clock, counts: ClassStats, task: str = SINGLE_LABEL) -> View:
    """Returns a view between epochs that fails if a part looks at images or at the network."""

    def refuse(*what: object) -> Any:
        raise AssertionError("the part looks at images or at the network")

    return View(clock, counts, refuse, refuse, torch.Generator(), torch.empty(0), refuse)


def view(clock: Clock, counts: ClassStats, task: str = SINGLE_LABEL) -> View:
    """Returns a view between epochs: black images with labels of all classes, and random outputs."""

    def images(rows: Tensor, split: str = "train") -> Batch:
        return batch((rows % counts.num_classes).tolist(), counts.num_classes, task)

    def predict(inputs: Tensor) -> Outputs:
        return outputs_of(len(inputs), counts.num_classes).detach()

    labels = torch.arange(counts.num_classes).repeat_interleave(counts.counts)
    known = labels if task == SINGLE_LABEL else several(labels, counts.num_classes)
    return View(clock, counts, images, predict, torch.Generator().manual_seed(0), known, lambda batch: batch)


def several(labels: Tensor, classes: int) -> Tensor:
    """Returns (N, C) bool: each row has a label of `labels` (N,), every other row the label of the row before as well.

    NONE: no label of its own.
    """
    own = labels[:, None] == torch.arange(classes, device=labels.device)
    own[1::2] |= own[:-1:2][: len(own[1::2])]
    return own & (labels != NONE)[:, None]


class Loss(nn.Module):
    """The classification loss, further terms and sampler of an option, as the trainer builds them, without a network."""

    def __init__(self, stage: Stage, stats: ClassStats, task: str = SINGLE_LABEL):
        super().__init__()
        self.task = task
        context = given(stats)
        main = stage.streams[MAIN].sampler
        assert main is not None
        self.sampler = context["sampler"] = main.build(context)
        criterion = stage.criterion.build(context) if stage.criterion else None
        adjusts, weighs = [part.build(context) for part in stage.adjusts], [part.build(context) for part in stage.weighs]
        classification = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)
        context["classify"] = classification
        self.terms = nn.ModuleList([classification, *(part.build(context) for _, part in stage.terms.values())])
        self.stats, self.streams = stats, list(stage.streams)

    def parts(self) -> Iterator[Part]:
        return (module for module in self.modules() if isinstance(module, Part))

    def adapt(self, clock: Clock, seen: Callable[[Clock, ClassStats, str], View] = view) -> None:
        for part in self.parts():
            part.adapt(seen(clock, self.stats, self.task))

    def batches(self, labels: list[int]) -> dict[str, Batch]:
        return {name: batch(labels, self.stats.num_classes, self.task) for name in self.streams}

    def forward(self, outputs: Outputs, labels: list[int]) -> Tensor:
        each, streams = dict.fromkeys(self.streams, outputs), self.batches(labels)
        return torch.stack([term(each, streams).float() for term in self.terms]).sum()

    @torch.no_grad()
    def after_step(self, outputs: Outputs, labels: list[int]) -> None:
        seen = outputs.detach()
        for part in self.parts():
            part.after_step(dict.fromkeys(self.streams, seen), self.batches(labels))


def loss_of(stage: Stage, stats: ClassStats, task: str = SINGLE_LABEL) -> Loss:
    """Builds the loss. Raises BrokenContract if a part refuses the counts, for one because it divides by a count of 0."""
    torch.manual_seed(0)
    try:
        return Loss(stage, stats, task)
    except ConfigError as error:
        raise BrokenContract(f"{error}, with {stats.counts[:5].tolist()} images per class; {WAY_OUT}") from None


def targets(labels: Tensor, classes: int, task: str) -> Targets:
    """Returns targets of a batch: the labels (B,), or `several` of them."""
    if task == SINGLE_LABEL:
        return Labels.hard(labels)
    return MultiHot(several(labels, classes)).take(torch.arange(len(labels), device=labels.device))


def batch(labels: list[int], classes: int, task: str = SINGLE_LABEL) -> Batch:
    rows = torch.arange(len(labels))
    return Batch(torch.zeros(len(labels), 1, 2, 2), targets(torch.tensor(labels), classes, task), rows)


def outputs_of(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> Outputs:
    """Returns the outputs of a cosine head, three experts and a projector for random features; the logits are a leaf."""
    generator = torch.Generator().manual_seed(rows)
    features, head = torch.randn(rows, FEATURES, generator=generator), torch.randn(classes, FEATURES, generator=generator)
    logits = SCALE * nn.functional.normalize(features, dim=1) @ nn.functional.normalize(head, dim=1).T
    experts, embedding = torch.stack([logits] * 3).to(dtype), nn.functional.normalize(features, dim=1).to(dtype)
    leaf = logits.to(dtype).requires_grad_()
    return Outputs(features.to(dtype), leaf, SCALE, head.to(dtype), experts, embedding)


@dataclass(frozen=True)
class Split:
    """A split with given outputs. hidden: its labels, or None if a part must not read them, as on test inputs."""

    given: Outputs
    hidden: Tensor | None

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return self.given

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        yield self.outputs(augment, epoch)

    @property
    def labels(self) -> Tensor:
        if self.hidden is None:
            raise PermissionError("a post-hoc part may see test inputs, never test labels")
        return self.hidden


def at_the_edges(part: Bound[Any]) -> Iterator[tuple[str, Bound[Any]]]:
    """Yields the key path and the value of an extreme argument, and the part with it; nested parts are included."""
    for name, value in part.arguments.items():
        if isinstance(value, Bound):
            for what, inner in at_the_edges(value):
                yield what, replace(part, arguments={**part.arguments, name: inner})
        elif isinstance(value, (float, int)) and not isinstance(value, bool):
            for edge in map(type(value), EXTREMES):
                yield f"{part.path}.{name}={edge:g}", replace(part, arguments={**part.arguments, name: edge})


def built(part: Bound[Any], **context: Any) -> Any:
    """Builds the part on RARE."""
    return part.build(given(RARE, **context))
