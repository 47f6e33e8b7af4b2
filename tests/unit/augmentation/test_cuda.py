"""CUDA: which images its levels augment, and how tests of the network move the levels."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ltrun.augmentation import CUDA
from ltrun.augmentation.operations import INDEX
from ltrun.errors import ConfigError
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.photographs import batch_of, photographs

LABELS = torch.tensor([0] * 8 + [1] * 4 + [3])  # class 2 has no images
STATS = ClassStats(torch.bincount(LABELS, minlength=4))


def view_of(predict: Callable[[Tensor], Tensor], part: CUDA, images: Tensor | None = None) -> View:
    stored = photographs(len(LABELS), (3, 8, 8)) if images is None else images

    def opened(rows: Tensor) -> Batch:
        return Batch(stored[rows], Labels.hard(LABELS[rows]), rows)

    generator = torch.Generator().manual_seed(0)
    return View(Clock("train", 1, 9), STATS, opened, lambda inputs: Outputs(logits=predict(inputs)), generator, LABELS, part)


def knowing(classes: list[int]) -> Callable[[Tensor], Tensor]:
    """Predicts right for these classes alone: the images' only grey level is their label."""

    def logits(inputs: Tensor) -> Tensor:
        label = inputs[:, 0, 0, 0].long().clamp(max=3)
        known = torch.tensor([c in classes for c in range(4)])[label]
        return torch.nn.functional.one_hot(torch.where(known, label, (label + 1) % 4), 4).float()

    return logits


def test_levels_rise_for_recognised_classes_and_fall_for_others() -> None:
    part = CUDA(num_classes=4, probability=0.0)
    labelled = LABELS[:, None, None, None].expand(-1, 3, 8, 8).to(torch.uint8)
    part.choices.fill_(INDEX["identity"])  # so that levels hide no label
    levels = []
    for known in ([0, 1, 2, 3], [0, 3], [0, 3], [3]):
        part.adapt(view_of(knowing(known), part, labelled))
        levels.append(part.level.tolist())
    assert levels == [[1, 1, 0, 1], [2, 0, 0, 2], [3, 0, 0, 3], [2, 0, 0, 4]]


def test_a_test_augments_as_in_training_and_by_its_own_level() -> None:
    part = CUDA(num_classes=4, probability=0.0, tests=3)
    part.level.copy_(torch.tensor([2, 1, 0, 0]))
    seen: list[Tensor] = []

    def predict(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return torch.zeros(len(inputs), 4)

    torch.manual_seed(0)
    part.adapt(view_of(predict, part))
    images = torch.cat(seen)
    originals = {tuple(image.flatten().tolist()) for image in photographs(len(LABELS), (3, 8, 8))}
    plain = [tuple(image.flatten().tolist()) in originals for image in images]
    assert len(plain) == 3 * (1 + 2 + 3) + 3 * (1 + 2) + 0 + 3, "3 images at level 0, 6 at level 1, 9 at level 2"
    assert all(plain[:3]) and all(plain[18:21]) and all(plain[27:]), "level 0 augments nothing"
    assert sum(plain) < 14, "higher levels augment all images of the test, not a share"
    assert part.level_given is None


def test_an_image_has_its_classs_level_with_the_probability() -> None:
    torch.manual_seed(0)
    part = CUDA(num_classes=2)
    part.level.copy_(torch.tensor([0, 9]))
    images = photographs(1).expand(2000, -1, -1, -1)
    labels = torch.arange(2000) % 2
    changed = (part(batch_of(images, labels)).inputs != images).flatten(1).any(1)
    assert not changed[labels == 0].any()
    assert changed[labels == 1].float().mean() == pytest.approx(0.5, abs=0.05)


def test_more_operations_are_applied_at_higher_levels() -> None:
    torch.manual_seed(0)
    images, changes = photographs(1).expand(1500, -1, -1, -1), []
    for level in (1, 2, 4):
        part = CUDA(num_classes=1, probability=1.0)
        part.choices.fill_(INDEX["translate_x"])
        part.values.fill_(1)
        part.signed.fill_(False)
        part.level.fill_(level)
        black = (part(batch_of(images)).inputs == 0).all((1, 2)).sum(1)
        changes.append(black.unique().tolist())
    assert changes == [[1], [2], [4]]


@pytest.mark.parametrize("bad", [{"probability": 1.5}, {"magnitude": 21}, {"operations": 0}, {"tests": 0}, {"accept": 1.0}])
def test_impossible_values_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(bad))} must"):
        CUDA(num_classes=2, **bad)  # type: ignore[arg-type]
