"""Students of teachers: self-paced experts, queues of keys, mixed labels, refusals."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.classifier import Linear
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.metrics import GROUPS as LABELLED
from ltrun.network import ResNetCIFAR, TwoHeads
from ltrun.transfer import LFME, SSD, XERM, ClassBalancedDistillation, DiVE, LabelledContrast, RIDEDistillation
from ltrun.transfer.lfme import expert_weights, image_weights, initial_weights
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View

GROUPS = tuple(LABELLED)
COUNTS = torch.tensor([4, 2, 3, 1, 0])  # no class is many-shot: thirds by count are {0, 2}, {1}, {3, 4}
STATS = ClassStats(COUNTS)
TRAIN = torch.arange(5).repeat_interleave(COUNTS)
CLASSIFY = Classification()


def batch(rows: Tensor) -> Batch:
    return Batch(rows[:, None].float(), Labels.hard(TRAIN[rows]), rows)


def view(epoch: int, predict: Callable[..., Outputs], epochs: int = 4) -> View:
    return View(Clock("train", epoch, epochs), STATS, batch, predict, torch.Generator(), TRAIN, lambda batch: batch)


def outputs(rows: int, *names: str) -> dict[str, Outputs]:
    torch.manual_seed(rows)
    return {name: Outputs(logits=torch.randn(rows, 5), features=torch.randn(rows, 3)) for name in ("main", *names)}


def told(expert: str, inputs: Tensor) -> Tensor:
    """(B, 5): logits of an expert that depend on the row and on the expert, the same at every call."""
    return torch.sin(inputs * torch.arange(1, 6) + GROUPS.index(expert))


def test_experts_judge_their_own_groups_images_once() -> None:
    term = LFME(stats=STATS, classify=CLASSIFY)
    calls: list[str] = []

    def predict(inputs: Tensor, by: str) -> Outputs:
        calls.append(by)
        return Outputs(logits=told(by, inputs))

    assert [group.tolist() for group in term.groups()] == [[0, 2], [1], [3, 4]]
    term.adapt(view(0, predict))
    assert calls == list(GROUPS)
    rows = torch.arange(10)
    confidence = torch.tensor(
        [
            told(GROUPS[g], rows[i : i + 1, None].float())[0, term.groups()[g]].softmax(0)[term.groups()[g].tolist().index(c)]
            for i, (c, g) in enumerate((c, [0, 1, 0, 2, 2][c]) for c in TRAIN.tolist())
        ]
    )
    floors = torch.tensor([1 / 3.5, 1 / 2, 1 / 3.5, 1.0, 1.0])  # the mean count of the rarest group over the group's
    torch.testing.assert_close(term.initial, initial_weights(confidence, TRAIN, floors))
    assert term.initial[9] == 1, "a class of a single image"
    before = term.initial.clone()
    term.adapt(view(1, predict))
    assert len(calls) == 3 and torch.equal(term.initial, before)


def test_the_weight_of_an_expert_falls_as_the_student_learns_its_group() -> None:
    term = LFME(threshold=0.5, stats=STATS, classify=CLASSIFY)
    term.adapt(view(0, lambda inputs, by: Outputs(logits=told(by, inputs))))
    rows = torch.arange(10)
    labels = TRAIN[rows]
    right = 9.0 * torch.nn.functional.one_hot(labels, 5)
    student = right.clone()
    student[0:2] = student[0:2].roll(1, dims=1)  # two of the seven images of the first group are wrong
    student[4:6] = student[4:6].roll(1, dims=1)  # both of the second
    seen = {"main": Outputs(logits=student)} | {name: Outputs(logits=right) for name in GROUPS}
    term.after_step(seen, {"main": batch(rows)})
    term.adapt(view(1, lambda inputs, by: Outputs()))
    torch.testing.assert_close(term.weights, torch.tensor([(1 - 5 / 7) / 0.5, 1.0, 0.0]))
    assert term.progress == 0.5 and not term.seen.any() and not term.correct.any()
    logits = torch.randn(10, 5)
    others = {name: Outputs(logits=torch.randn(10, 5)) for name in GROUPS}
    loss = term({"main": Outputs(logits=logits)} | others, {"main": batch(rows)})
    others["few"] = Outputs(logits=torch.zeros(10, 5))
    without = term({"main": Outputs(logits=logits)} | others, {"main": batch(rows)})
    torch.testing.assert_close(loss, without)  # its weight is 0
    assert term.weights.dtype == torch.float32


def test_equal_confidences_give_the_largest_weight() -> None:
    """0 / 0 in the authors' code."""
    floors = torch.tensor([0.1, 0.2])
    found = initial_weights(torch.tensor([0.5, 0.5, 0.3]), torch.tensor([0, 0, 1]), floors)
    assert found.tolist() == [1.0, 1.0, 1.0]


def test_weights_of_images_pass_one_half_way() -> None:
    start = torch.tensor([0.2, 1.0])
    assert torch.equal(image_weights(start, 0.5), torch.ones(2))
    torch.testing.assert_close(image_weights(start, 1.0), torch.tensor([1.8, 1.0]))


def test_an_expert_without_a_right_answer_teaches_nothing() -> None:
    assert expert_weights(torch.tensor([0.0, 0.5]), torch.tensor([0.0, 0.0]), 0.3).tolist() == [0.0, 0.0]


def test_keys_fill_the_queue_round_its_end() -> None:
    term = LabelledContrast(queue=4, dim=2, stats=STATS)
    assert len(LabelledContrast(dim=2, stats=STATS).keys) == 10, "as many as training images"
    for first in (0, 3):
        rows = torch.arange(first, first + 3)
        keys = Outputs(embedding=rows[:, None].float().expand(3, 2))
        term.after_step({"main": Outputs(), "key": keys}, {"key": batch(rows)})
    assert term.keys[:, 0].tolist() == [4.0, 5.0, 2.0, 3.0] and term.cursor == 2
    assert term.key_labels.tolist() == TRAIN[[4, 5, 2, 3]].tolist()


@pytest.mark.parametrize("make", [lambda: XERM(stats=STATS), lambda: DiVE(classify=CLASSIFY), lambda: RIDEDistillation()])
def test_mixed_labels_of_one_class_are_hard_labels(make: Callable[[], Any]) -> None:
    term, seen, rows = make(), outputs(10, "teacher"), torch.arange(10)
    hard = batch(rows)
    mixed = hard.replace(targets=hard.targets.mix(hard.targets, torch.full((10,), 0.3)))
    torch.testing.assert_close(term(seen, {"main": mixed}), term(seen, {"main": hard}))


def test_teachers_get_no_gradient() -> None:
    teacher = torch.randn(10, 5, requires_grad=True)
    student = torch.randn(10, 5, requires_grad=True)
    for term in (DiVE(classify=CLASSIFY), XERM(stats=STATS), RIDEDistillation(), SSD(classify=CLASSIFY)):
        main = Outputs(logits=student, experts=torch.stack([student, student]))
        loss = term({"main": main, "teacher": Outputs(logits=teacher)}, {"main": batch(torch.arange(10))})
        found = torch.autograd.grad(loss, [student, teacher], allow_unused=True)
        assert found[0].any() and found[1] is None, type(term).__name__


def test_a_student_with_two_heads_predicts_with_the_soft_one() -> None:
    torch.manual_seed(0)
    network = TwoHeads(
        backbone=ResNetCIFAR(8, width=4, in_channels=1), make_head=lambda n: Linear(features=n, num_classes=5)
    ).eval()
    found = network.predict(torch.randn(3, 1, 8, 8))
    assert network.head_names() == ["heads.0", "heads.1"]
    experts = found.need("experts")
    assert experts.shape == (2, 3, 5) and torch.equal(found.need("logits"), experts[1]) and found.head is None
    assert not torch.equal(experts[0], experts[1])


def test_features_of_another_length_are_refused() -> None:
    term = ClassBalancedDistillation(features=3, names=["teacher"], classify=CLASSIFY)
    seen = outputs(10) | {"teacher": Outputs(features=torch.randn(10, 4))}
    with pytest.raises(ConfigError, match="names: the teachers' features have 4 numbers together, where 3 are needed"):
        term(seen, {"main": batch(torch.arange(10))})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiVE(temperature=0.0, classify=CLASSIFY), "temperature must"),
        (lambda: DiVE(power=0.0, classify=CLASSIFY), "power must"),
        (lambda: DiVE(alpha=1.1, classify=CLASSIFY), "alpha must"),
        (lambda: RIDEDistillation(-1.0), "temperature must"),
        (lambda: XERM(-0.1, stats=STATS), "gamma must"),
        (lambda: SSD(weight=-1.0, classify=CLASSIFY), "weight must"),
        (lambda: LabelledContrast(queue=0, stats=STATS), "queue and dim must"),
        (lambda: ClassBalancedDistillation(alpha=-0.1, features=3, classify=CLASSIFY), "alpha must"),
        (lambda: ClassBalancedDistillation(beta=-1.0, features=3, classify=CLASSIFY), "beta must"),
        (lambda: ClassBalancedDistillation(names=[], features=3, classify=CLASSIFY), "names must"),
        (lambda: LFME(threshold=1.0, stats=STATS, classify=CLASSIFY), "threshold must"),
        (lambda: LFME(stats=ClassStats(torch.tensor([3, 1])), classify=CLASSIFY), "three classes with images"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_projector_and_the_queue_must_agree() -> None:
    term = LabelledContrast(queue=4, dim=2, stats=STATS)
    seen: Mapping[str, Outputs] = {name: Outputs(embedding=torch.randn(3, 5)) for name in ("main", "key")}
    with pytest.raises(ConfigError, match="dim must equal the projector's out, 5, got 2"):
        term(seen, {"main": batch(torch.arange(3))})
