"""Recipe of a run: its stages and their streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ltrun import parts
from ltrun.config.bind import Bound
from ltrun.data.source import Source
from ltrun.optimizer.base import Optimizer
from ltrun.schedule.base import Schedule

MAIN = "main"  # the stream of resampling and augmentation


@dataclass(frozen=True)
class Stream:
    """A sampler, or the rows of another stream (`of`). augments: None for the augmentations of the main stream.

    split: the images that the sampler draws; a stream with `of` has those of the other stream.
    """

    sampler: Bound[parts.Sampler] | None
    of: str | None
    augments: dict[str, Bound[parts.Augment]] | None
    origin: str
    split: Literal["train", "unlabelled"] = "train"


@dataclass(frozen=True)
class Teacher:
    """A frozen network beside the network in training: of a run of its own, or, with `previous`, as the last stage left it.

    words: command line of the run, on the data set of the student, which trains it where it is missing. run: folder of a
    finished run in its place. path: key of the configuration.
    """

    path: str
    origin: str
    words: Sequence[str] = ()
    run: str | None = None
    previous: bool = False


@dataclass(frozen=True)
class Stage:
    """One stretch of training with its own parts, optimizer and schedule; it continues with the previous stage's network."""

    name: str
    epochs: int
    streams: dict[str, Stream]
    mixers: dict[str, Bound[parts.Mixer]]
    feature_mixers: dict[str, Bound[parts.FeatureMixer]]
    terms: dict[str, tuple[float, Bound[parts.Term]]]  # without 'classification', adjusts and weighs make up the loss
    adjusts: list[Bound[parts.Adjust]]
    weighs: list[Bound[parts.Weigh]]
    network: Bound[parts.Network]
    head: Bound[parts.Head]
    wrap: Bound[parts.Head] | None
    update: Bound[parts.Update]
    criterion: Bound[parts.Criterion] | None
    average: Bound[parts.Average] | None
    optimizer: Bound[Optimizer]
    schedule: Bound[Schedule]
    teachers: dict[str, Teacher] = field(default_factory=dict)
    trainable: list[str] | None = None  # patterns over the network's parameter names; None trains all
    reset_head: bool = False
    reset_network: bool = False
    norm: Literal["follow", "track", "hold"] = "follow"

    def split_of(self, stream: str) -> str:
        """Returns the split whose images a stream has: 'train' or 'unlabelled'."""
        return self.streams[self.streams[stream].of or stream].split

    def parts(self) -> Iterator[Bound[parts.Part]]:
        """Yields every part that the stage's options contribute, without nested parts."""
        for stream in self.streams.values():
            yield from [stream.sampler] if stream.sampler else []
            yield from (stream.augments or {}).values()
        yield from self.mixers.values()
        yield from self.feature_mixers.values()
        yield from (part for _, part in self.terms.values())
        yield from self.adjusts
        yield from self.weighs
        single = (self.network, self.head, self.wrap, self.update, self.criterion, self.average)
        yield from (part for part in single if part)


@dataclass(frozen=True)
class Recipe:
    """The data set, network, stages and post-hoc parts of a run. task: the kind of its labels. warnings: on combinations that
    are usually a mistake."""

    task: str
    source: Bound[Source]
    prepare: Bound[parts.Prepare]
    backbone: Bound[parts.Backbone]
    stages: list[Stage]
    posthoc: dict[str, Bound[parts.PostHoc]]
    warnings: list[str] = field(default_factory=list)

    @property
    def cuts_photographs(self) -> bool:
        """Whether a stream of a stage cuts whole photographs at random."""
        streams = [stream for stage in self.stages for stream in stage.streams.values()]
        return any(part.target.cuts == "photographs" for stream in streams for part in (stream.augments or {}).values())

    @property
    def reads_unlabelled(self) -> bool:
        """Whether a stream of a stage has unlabelled images."""
        return any(stream.split == "unlabelled" for stage in self.stages for stream in stage.streams.values())

    def dataset(self, **known: object) -> Source:
        """Returns the data set, built for what its training does with images. known: what else the options may ask for."""
        used = {"random_crops": self.cuts_photographs, "reads_unlabelled": self.reads_unlabelled, "task": self.task}
        return self.source.build(used | known)

    def check_settings(self) -> None:
        """Builds the optimizers and schedules that need no data, to check their values early. Raises ConfigError."""
        known: dict[str, object] = {"parameter_names": ()}
        for stage in self.stages:
            settings: tuple[Bound[object], ...] = (stage.optimizer, stage.schedule)
            for setting in settings:
                if not any(setting.wants(name) for name in parts.CONTEXT.keys() - known):
                    setting.build(known)
