"""Losses of teachers without a reference file, against the authors' definitions evaluated in NumPy in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltrun.engine.update import corrected
from ltrun.loss import Classification
from ltrun.transfer import SSD, XERM, ClassBalancedDistillation
from ltrun.transfer.class_balanced_distillation import cosine_distance
from ltrun.transfer.knowledge_review import per_image, review
from ltrun.transfer.knowledge_summary import class_medians, soft_cross_entropy, soft_labels
from ltrun.transfer.ssd import EMPTY, labelled_contrast
from ltrun.transfer.xerm import balanced_weight, xerm
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.golden import near, slope

COUNTS = [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
STATS = ClassStats(torch.tensor(COUNTS))
PRIOR = np.array(COUNTS) / sum(COUNTS)
RNG = np.random.default_rng(0)
STUDENT, TEACHER = 2 * RNG.standard_normal((2, 12, 10))
LABELS = RNG.integers(0, 10, 12)
STREAMS = {"main": Batch(torch.empty(12, 0), Labels.hard(torch.tensor(LABELS)), torch.arange(12))}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def ce(z: np.ndarray) -> np.ndarray:
    return -np.log(softmax(z)[np.arange(len(z)), LABELS])


def kl(teacher: np.ndarray, student: np.ndarray, temperature: float) -> np.ndarray:
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return (p * np.log(p / q)).sum(1)


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(value: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(value, x)[0]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0])
def test_xerm(gamma: float) -> None:
    """Zhu et al., 2022, arXiv 2112.14380: both risks of an image, weighed by the powers of the teachers' cross-entropies."""
    balanced = TEACHER - np.log(PRIOR)
    a, b = ce(TEACHER) ** gamma, ce(balanced) ** gamma
    w = b / (a + b + 1e-5)

    def loss(z: np.ndarray) -> float:
        return float(((1 - w) * ce(z) - w * (softmax(balanced) * np.log(softmax(z))).sum(1)).mean())

    targets = Labels.hard(torch.tensor(LABELS))
    near(balanced_weight(double(TEACHER), double(balanced), targets, gamma), w)
    student = double(STUDENT).requires_grad_()
    value = xerm(student, double(balanced), targets, double(w))
    near(value, loss(STUDENT))
    near(gradient(value, student), slope(loss, STUDENT), 1e-7)
    outputs = {"main": Outputs(logits=double(STUDENT).float()), "teacher": Outputs(logits=double(TEACHER).float())}
    near(XERM(gamma, stats=STATS)(outputs, STREAMS), loss(STUDENT), 2e-5)


@pytest.mark.parametrize("teachers", [1, 3])
def test_class_balanced_distillation(teachers: int) -> None:
    """Iscen et al., 2021, arXiv 2104.05279: cosine similarity with the joined unit features, and the weights alpha and beta."""
    features = RNG.standard_normal((teachers, 12, 6))
    names = ["first", "second", "third"][:teachers]
    torch.manual_seed(0)
    term = ClassBalancedDistillation(0.8, 100.0, names, features=6, classify=Classification())
    weight, bias = (np.eye(6), np.zeros(6)) if teachers == 1 else (p.detach().double().numpy() for p in term.parameters())
    joined = unit(np.concatenate([unit(x) for x in features], axis=1))

    def distance(x: np.ndarray) -> float:
        return float((1 - (unit(x) * joined).sum(1)).mean())

    own = RNG.standard_normal((12, 6))
    mapped = double(own @ weight.T + bias).requires_grad_()
    value = cosine_distance(mapped, [double(x) for x in features])
    near(value, distance(own @ weight.T + bias))
    near(gradient(value, mapped), slope(distance, own @ weight.T + bias), 1e-7)
    outputs = {name: Outputs(features=torch.tensor(x).float()) for name, x in zip(names, features, strict=True)}
    outputs["main"] = Outputs(features=torch.tensor(own).float(), logits=torch.tensor(STUDENT).float())
    expected = 0.2 * ce(STUDENT).mean() + 0.8 * 100.0 * distance(own @ weight.T + bias)
    near(term(outputs, STREAMS), expected, 2e-5)


def test_the_student_of_ssd() -> None:
    """Li et al., 2021, arXiv 2109.04075: cross-entropy on the hard head, softened divergence on the soft head, T = 2."""
    hard = 2 * RNG.standard_normal((12, 10))
    expected = ce(hard).mean() + 4 * kl(TEACHER, STUDENT, 2.0).mean()
    experts = torch.stack([double(hard), double(STUDENT)])
    outputs = {"main": Outputs(logits=experts[1], experts=experts), "teacher": Outputs(logits=double(TEACHER))}
    near(SSD(classify=Classification())(outputs, STREAMS), expected, 1e-7)  # the shares of labels are float32


def test_the_contrast_of_ssd_leaves_out_keys_of_the_own_class() -> None:
    """Li et al., 2021, arXiv 2109.04075: the denominator has the own key, and the keys of other labels."""
    query, key, queue = (
        unit(RNG.standard_normal((12, 5))),
        unit(RNG.standard_normal((12, 5))),
        unit(RNG.standard_normal((30, 5))),
    )
    queue_labels = RNG.integers(-1, 10, 30)

    def loss(q: np.ndarray) -> float:
        total = 0.0
        for i in range(12):
            positive = np.exp(q[i] @ key[i] / 0.2)
            others = [np.exp(q[i] @ k / 0.2) for k, c in zip(queue, queue_labels, strict=True) if c not in (EMPTY, LABELS[i])]
            total -= np.log(positive / (positive + sum(others)))
        return total / 12

    q = double(query).requires_grad_()
    value = labelled_contrast(q, double(key), double(queue), torch.tensor(LABELS), torch.tensor(queue_labels), 0.2)
    near(value, loss(query))
    near(gradient(value, q), slope(loss, query), 1e-7)
    labels = torch.zeros(12, dtype=torch.long)
    assert labelled_contrast(q, double(key), double(queue), labels, torch.full((30,), EMPTY), 0.2) == 0


def test_the_review_of_ltrl() -> None:
    """Zhao et al., 2024, arXiv 2407.12568: divergence from the last epoch's prediction, over the rows that were right."""
    known = RNG.random(12) < 0.8
    labels = np.where(RNG.random(12) < 0.6, TEACHER.argmax(1), LABELS)
    right = known & (TEACHER.argmax(1) == labels)
    assert 0 < right.sum() < 12

    def loss(z: np.ndarray) -> float:
        return float(4 * kl(TEACHER, z, 2.0)[right].mean())

    current = double(STUDENT).requires_grad_()
    value = review(double(TEACHER), current, torch.tensor(labels), torch.tensor(known), 2.0)
    near(value, loss(STUDENT))
    near(gradient(value, current), slope(loss, STUDENT), 1e-7)
    nothing = review(double(TEACHER), current, torch.tensor(labels), torch.zeros(12, dtype=torch.bool), 2.0)
    assert nothing == 0 and not gradient(nothing, current).any()


def test_reviewed_logits_are_divided_by_the_images_of_their_class() -> None:
    """Zhao et al., 2024, arXiv 2407.12568, in their code: the number of images of the label's class in the batch."""
    counts = np.array([(label == LABELS).sum() for label in LABELS])
    assert counts.max() > 1
    near(per_image(double(STUDENT), torch.tensor(LABELS)), STUDENT / counts[:, None])


def test_the_summary_of_ltrl() -> None:
    """Zhao et al., 2024, arXiv 2407.12568: labels from the cosine similarity of the classes' median features."""
    features, labels = RNG.standard_normal((60, 7)), RNG.integers(-1, 9, 60)  # class 9 is empty, -1 was not drawn
    medians = np.zeros((10, 7))
    for c in range(9):
        own = np.sort(features[labels == c], axis=0)
        medians[c] = own[(len(own) - 1) // 2]
    near(class_medians(double(features), torch.tensor(labels), 10), medians)
    directions = medians / np.maximum(np.linalg.norm(medians, axis=1, keepdims=True), 1e-12)
    soft = softmax(directions @ directions.T)[LABELS]
    near(soft_labels(double(medians), torch.tensor(LABELS)), soft)

    def loss(z: np.ndarray) -> float:
        return float(-(soft * np.log(softmax(z))).sum(1).mean())

    logits = double(STUDENT).requires_grad_()
    value = soft_cross_entropy(logits, double(soft))
    near(value, loss(STUDENT))
    near(gradient(value, logits), slope(loss, STUDENT), 1e-7)


def test_the_correction_of_ltrl() -> None:
    """Zhao et al., 2024, arXiv 2407.12568: the reviewing gradient loses its component against the other gradient."""
    conflicts = 0
    for _ in range(20):
        g, k = RNG.standard_normal((2, 4, 3))
        dot = (g * k).sum()
        expected = g + (k - dot / (g * g).sum() * g if dot < 0 else k)
        near(corrected(double(g), double(k)), expected)
        conflicts += dot < 0
    assert 0 < conflicts < 20
    near(corrected(torch.zeros(3), torch.ones(3)), np.ones(3))
