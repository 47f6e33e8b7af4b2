"""LFME: learning from multiple experts, one for each shot group, with self-paced weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.metrics import GROUPS
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.resampling.shot_group import shot_groups
from ltrun.transfer.divergence import check_temperature, divergence
from ltrun.types import ClassStats, Outputs, Streams, View

CHUNK = 250  # images that pass through an expert at once


def expert_weights(student: Tensor, expert: Tensor, threshold: float) -> Tensor:
    """(G,): 1 while the student's accuracy is below threshold * the expert's, then falling linearly to 0 where they are equal.

    student, expert: (G,) accuracies on the images of each group.
    """
    gap = (expert - student) / expert.clamp(min=1e-12) / (1 - threshold)
    return torch.where(student < threshold * expert, 1.0, gap.clamp(min=0))


def initial_weights(confidence: Tensor, labels: Tensor, floors: Tensor) -> Tensor:
    """(N,): the confidence of each image, scaled within its class to run from the class's floor to 1.

    confidence: (N,) probability that an image's expert gives to its label. floors: (C,). A class of one image, or of equal
    confidences, has weights of 1.
    """
    least, most = (
        torch.full_like(floors, start).scatter_reduce(0, labels, confidence, how)
        for start, how in ((torch.inf, "amin"), (-torch.inf, "amax"))
    )
    span = (most - least)[labels]
    share = torch.where(span > 0, (confidence - least[labels]) / span.clamp(min=torch.finfo(span.dtype).tiny), 1.0)
    return share * (1 - floors[labels]) + floors[labels]


def image_weights(initial: Tensor, progress: Tensor | float) -> Tensor:
    """(B,): from `initial` at progress 0 through 1 at progress 1/2 to 2 - initial at progress 1."""
    return initial + (1 - initial) * 2 * progress


def lfme(
    logits: Tensor,
    base: Callable[[Tensor], Tensor],
    experts: Sequence[Tensor],
    groups: Sequence[Tensor],
    weights: Tensor,
    temperature: float,
) -> Tensor:
    """A scalar: base(logits) + the sum over groups of weight * mean KL(softmax(expert / T) || softmax(group's logits / T)).

    logits: (B, C), already multiplied by the images' weights. experts: (B, K) logits for the K classes of each group. groups:
    (K,) the classes. weights: (G,). The divergences are over all rows of the batch, also images of other groups.
    """
    found = [divergence(expert, logits[:, group], temperature).mean() for expert, group in zip(experts, groups, strict=True)]
    return base(logits) + (weights * torch.stack(found)).sum()


class LFME(Term):
    """LFME: the run's classification loss, and experts of the many-shot, medium-shot and few-shot classes as teachers.

    Each expert was trained on its group's images (resampling=shot_group), and the student's logits of the group's classes
    follow its own. The student draws classes evenly (resampling=class_aware), as in the authors' code. An expert's weight is 1
    until the student's accuracy on the group's images has reached `threshold` of the expert's, then falls to 0, which it has
    where the student is as good. Easy images come first: the student's logits are multiplied by a weight that starts at the
    image's confidence, scaled within its class to run from the group's floor to 1, and passes 1 after half of the epochs. The
    floor is the mean count of the few-shot classes over the group's mean count: in the authors' code 1, 12/53 and 12/230, those
    of ImageNet-LT.

    As in the authors' code, the images' weights multiply the logits, not the loss as in the paper, and exceed 1 in the second
    half. Equal confidences within a class, which divide 0 by 0 there, have weights of 1. The authors measure both accuracies on
    a validation set, here they come from the augmented training batches of the last epoch. Their experts have a classifier of
    the group's classes alone; here the logits of other classes are left out.

    Xiang et al., 2020, arXiv 2001.01536.
    """

    teachers = tuple(GROUPS)
    correct: Tensor
    seen: Tensor
    weights: Tensor
    initial: Tensor
    progress: Tensor
    group_of: Tensor
    floors: Tensor

    def __init__(self, temperature: float = 2.0, threshold: float = 0.3, *, stats: ClassStats, classify: Classification):
        super().__init__()
        check_temperature(temperature)
        if not 0 <= threshold < 1:
            raise ConfigError(f"threshold must be at least 0 and below 1, got {threshold}")
        self.temperature, self.threshold, self.classify = temperature, threshold, classify
        masks = torch.stack(list(shot_groups(stats).values()))
        for name, mask in zip(GROUPS, masks, strict=True):
            self.register_buffer(f"classes_{name}", mask.nonzero()[:, 0], persistent=False)
        self.register_buffer("group_of", masks.int().argmax(dim=0), persistent=False)
        present = masks & (stats.counts > 0)
        means = (present * stats.counts).sum(dim=1) / present.sum(dim=1)
        self.register_buffer("floors", (means[-1] / means)[self.group_of].float(), persistent=False)
        self.register_buffer("correct", torch.zeros(2, len(GROUPS)))  # of the student and of the group's expert
        self.register_buffer("seen", torch.zeros(len(GROUPS)))
        self.register_buffer("weights", torch.ones(len(GROUPS)))
        self.register_buffer("initial", torch.ones(int(stats.counts.sum())))
        self.register_buffer("progress", torch.zeros(()))

    def groups(self) -> list[Tensor]:
        return [self.get_buffer(f"classes_{name}") for name in GROUPS]

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        if view.clock.epoch == 0:
            self.initial.copy_(self.confidences(view))
        else:
            student, expert = self.correct / self.seen.clamp(min=1)
            self.weights.copy_(expert_weights(student, expert, self.threshold))
        self.correct.zero_()
        self.seen.zero_()
        self.progress.fill_((view.clock.epoch + 1) / view.clock.epochs)

    def confidences(self, view: View) -> Tensor:
        """(N,): the initial weight of each training image, from the experts' predictions."""
        found, known = [], view.labels.to(self.initial.device)
        for rows in torch.arange(len(self.initial)).split(CHUNK):
            batch, labels = view.open(rows), known[rows]
            own = torch.zeros_like(labels, dtype=self.floors.dtype)
            for name, classes in zip(GROUPS, self.groups(), strict=True):
                logits = widened(view.predict(batch.inputs, name).need("logits"))
                given = torch.full_like(logits, -torch.inf).index_copy(1, classes, logits[:, classes]).softmax(dim=1)
                own += given.gather(1, labels[:, None])[:, 0]  # 0 for labels of other groups
            found.append(own)
        return initial_weights(torch.cat(found), known, self.floors)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, batch = outputs["main"], streams["main"]
        logits = widened(output.need("logits")) * image_weights(self.initial[batch.rows], self.progress)[:, None]
        experts = [widened(outputs[name].need("logits"))[:, group] for name, group in zip(GROUPS, self.groups(), strict=True)]

        def base(scaled: Tensor) -> Tensor:
            return self.classify.loss(scaled, batch.targets, output)

        return lfme(logits, base, experts, self.groups(), self.weights, self.temperature)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        """Counts the images of each group that the student and the group's expert recognise."""
        labels = streams["main"].targets.labels
        own = self.group_of[labels]
        experts = torch.stack([self.choice(outputs[name], group) for name, group in zip(GROUPS, self.groups(), strict=True)])
        expert = experts.gather(0, own[None])[0]
        student = outputs["main"].need("logits").argmax(dim=1)
        member = (own[:, None] == torch.arange(len(GROUPS), device=own.device)).to(self.seen.dtype)  # (B, G)
        self.seen += member.sum(dim=0)
        self.correct += torch.stack([student == labels, expert == labels]).to(member.dtype) @ member

    def choice(self, output: Outputs, classes: Tensor) -> Tensor:
        """(B,): the likeliest class among some."""
        return classes[output.need("logits")[:, classes].argmax(dim=1)]
