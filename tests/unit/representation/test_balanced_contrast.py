"""Queues with slots for each class, Bessel functions, and the terms of BCL, ProCo, GML and DRO-LT at the edges of data."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.representation import BCL, DROLT, GML, FrequencyWeights, GPaCo, ProCo
from ltrun.representation.bcl import balanced_contrast
from ltrun.representation.bessel import log_bessel
from ltrun.representation.class_queue import ClassQueue, slots_of
from ltrun.representation.dro_lt import dro_lt
from ltrun.representation.gml import mixture_contrast
from ltrun.representation.proco import LARGEST, Means, concentrations, proco_logits
from ltrun.representation.queue import EMPTY
from ltrun.types import Batch, ClassStats, Labels, Outputs

STATS = ClassStats(torch.tensor([6, 3, 1]))
TEACHERS: Any = {"teacher": SimpleNamespace(features=4)}


def batch(labels: list[int]) -> Batch:
    return Batch(torch.empty(len(labels), 0), Labels.hard(torch.tensor(labels)), torch.arange(len(labels)))


def unit(rows: int, length: int) -> Tensor:
    return F.normalize(torch.randn(rows, length, dtype=torch.float64))


def test_slots_follow_the_images_above_a_base() -> None:
    assert slots_of(torch.tensor([60, 30, 10]), 106, 2).tolist() == [62, 32, 12]
    assert slots_of(torch.tensor([60, 30, 10]), 5, 2).tolist() == [2, 2, 2], "the base comes first"
    assert slots_of(torch.tensor([500, 50, 0, 5]), 4096, 2).sum() == 4096


def test_a_class_keeps_its_own_newest_rows() -> None:
    queue = ClassQueue(torch.tensor([1, 1]), 6, 3, 1)  # three slots a class
    buffers = [buffer.data_ptr() for buffer in queue.buffers()]
    for labels, first in (([0, 1, 0], 0), ([0, 0], 3), ([1, 0, 0, 0, 0], 5)):
        rows = torch.arange(first, first + len(labels))
        queue.store(rows[:, None].float(), torch.tensor(labels), rows)
    assert sorted(queue.rows[:3].tolist()) == [7, 8, 9], "of more rows than slots the last stay"
    assert sorted(queue.rows[3:].tolist()) == [EMPTY, 1, 5]
    assert queue.features[:3, 0].tolist() == queue.rows[:3].tolist()
    assert queue.labels.tolist() == [0, 0, 0, 1, 1, EMPTY]
    assert [buffer.data_ptr() for buffer in queue.buffers()] == buffers


@pytest.mark.parametrize("nu", [0.0, 0.5, 3.0, 63.0])
def test_bessel_functions_have_two_derivatives(nu: float) -> None:
    x = torch.tensor([0.3, 2.0, 40.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_bessel(x, nu), x)
    assert torch.autograd.gradgradcheck(lambda x: log_bessel(x, nu), x)


def test_bessel_functions_of_order_one_half_are_elementary() -> None:
    """I_1/2(x) = sqrt(2 / (pi x)) sinh(x), also far beyond the range of exp."""
    x = torch.tensor([1e-6, 1.0, 30.0, 1e5], dtype=torch.float64)
    log_sinh = x + torch.log(-torch.expm1(-2 * x)) - torch.log(torch.tensor(2.0, dtype=torch.float64))
    expected = 0.5 * torch.log(2 / (torch.pi * x)) + log_sinh - 0.5 * x.log()
    torch.testing.assert_close(log_bessel(x, 0.5), expected, rtol=1e-13, atol=1e-12)


def test_proco_is_the_log_of_a_mean_over_the_sphere() -> None:
    """In three dimensions the mean of exp(f . v / T) over v of the distribution is an integral over the cosine to the mean."""
    means, features = torch.tensor([[0.0, 0.0, 0.7]], dtype=torch.float64), unit(4, 3)
    kappa, temperature = concentrations(means)[0], 0.5
    angles = torch.arange(4000, dtype=torch.float64)
    cos, turn = (2 * angles + 1) / 4000 - 1, torch.pi * (1 + 5**0.5) * angles
    sphere = torch.stack([(1 - cos**2).sqrt() * turn.cos(), (1 - cos**2).sqrt() * turn.sin(), cos], dim=1)
    density = (kappa * cos).softmax(dim=0)
    mean = (density * (features @ sphere.T / temperature).exp()).sum(dim=1)
    torch.testing.assert_close(proco_logits(features, means, temperature)[:, 0], mean.log(), rtol=2e-3, atol=2e-3)


def test_one_image_makes_a_class_as_concentrated_as_can_be() -> None:
    start = Means(0.9 * unit(3, 8).float(), torch.zeros(3))
    row = unit(1, 8).float()
    means = start.of_more(row, torch.tensor([1]))
    assert concentrations(means.values)[1] == LARGEST
    torch.testing.assert_close(means.values[1], row[0])
    torch.testing.assert_close(means.values[[0, 2]], start.values[[0, 2]])
    features = unit(2, 8).float().requires_grad_()
    logits = proco_logits(features, means.values, 0.1)
    assert logits.isfinite().all() and torch.autograd.grad(logits.sum(), features)[0].isfinite().all()


def test_centres_alone_are_positives_of_a_row_without_its_like() -> None:
    anchors, centres = unit(2, 4), unit(3, 4)
    loss = balanced_contrast(anchors, centres, torch.tensor([0, 1]), 0.5)
    similarity = anchors @ centres.T / 0.5
    other = (anchors @ anchors.T / 0.5)[0, 1]
    rows = [
        -similarity[0, 0] + torch.stack([similarity[0, 0], similarity[0, 1] - 0.6931472, similarity[0, 2], other - 0.6931472])
        .logsumexp(0),
        -similarity[1, 1] + torch.stack([similarity[1, 0] - 0.6931472, similarity[1, 1], similarity[1, 2], other - 0.6931472])
        .logsumexp(0),
    ]  # fmt: skip
    assert loss.item() == pytest.approx(float(sum(rows)) / 2, rel=1e-6)


def test_a_query_without_another_key_of_its_class_has_no_loss() -> None:
    """Row 0 is the only image of its class; the others' loss is as without it, and every gradient is finite."""
    query, keys = unit(3, 4).requires_grad_(), unit(5, 4)
    labels, key_labels = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1, 2, EMPTY])
    own = torch.arange(3)[:, None] == torch.arange(5)
    log_prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    loss = mixture_contrast(query, keys, labels, key_labels, own, log_prior, 0.2)
    rest = mixture_contrast(query[1:], keys, labels[1:], key_labels, own[1:], log_prior, 0.2)
    assert loss.item() == pytest.approx(rest.item(), rel=1e-12)
    assert torch.autograd.grad(loss, query)[0].isfinite().all()
    alone = mixture_contrast(query[:1], keys[:1], labels[:1], key_labels[:1], own[:1, :1], log_prior, 0.2)
    assert alone.item() == 0


def test_gml_fills_its_queue_from_the_teacher_and_learns_its_temperature() -> None:
    term = GML(queue=12, base=2, dim=3, stats=STATS, teachers=TEACHERS)
    streams = {"main": batch([0, 1, 2, 0]), "query": batch([0, 1, 2, 0])}
    query = unit(4, 3).float().requires_grad_()
    outputs = {"query": Outputs(embedding=query), "teacher": Outputs(features=torch.randn(4, 4))}
    for _ in range(2):
        loss = term(outputs, streams)
        gradients = torch.autograd.grad(loss, [query, *term.parameters()])
        assert loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
        term.after_step(outputs, streams)
    assert term.log_temperature.item() == pytest.approx(-2.302585)
    assert sorted(term.queue.labels.tolist()) == sorted([EMPTY] * 4 + [0] * 4 + [1] * 2 + [2] * 2)


def test_dro_lt_is_the_mean_over_the_classes_of_a_batch() -> None:
    features, prototypes = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    labels, epsilon = torch.tensor([0, 2, 0, 2, 3]), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    losses = []
    for c in (0, 2, 3):
        scores = -torch.cdist(prototypes[c : c + 1], features)[0] - epsilon[c] * (labels == c)
        losses.append(-(scores / 0.5).log_softmax(0)[labels == c].mean())
    assert dro_lt(features, labels, prototypes, epsilon, 0.5).item() == pytest.approx(torch.stack(losses).mean().item())


def test_features_on_their_prototype_have_a_finite_gradient() -> None:
    features = torch.zeros(2, 3, requires_grad=True)
    loss = dro_lt(features, torch.tensor([0, 1]), torch.zeros(2, 3), torch.ones(2), 1.0)
    assert torch.autograd.grad(loss, features)[0].isfinite().all()


def test_dro_lt_weights_classes_as_told() -> None:
    def weights(kind: Any) -> list[float] | None:
        found = DROLT(class_weights=kind, features=2, stats=STATS).weights
        return None if found is None else found.tolist()

    assert weights("none") is None
    assert weights("balanced") == pytest.approx([1 / 6, 1 / 3, 1])
    assert weights("frequency") == pytest.approx([1, 0.5, 1 / 6])
    rows = FrequencyWeights(stats=STATS)(torch.zeros(2, 3), torch.tensor([2, 0]), Outputs())
    assert rows.tolist() == pytest.approx([1 / 6, 1])


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: GPaCo(smooth=1.0, stats=STATS), "smooth must be at least 0 and below 1, got 1.0"),
        (lambda: GPaCo(queue=0, stats=STATS), "temperature, queue and dim must be above 0, got 0.05, 0, 32"),
        (lambda: BCL(temperature=0.0, features=4), "temperature, hidden and dim must be above 0, got 0.0, 512, 128"),
        (lambda: ProCo(dim=1, stats=STATS), "dim must be at least 2, got 1"),
        (lambda: ProCo(temperature=0.0, stats=STATS), "temperature must be at least 0.001, got 0.0"),
        (lambda: GML(base=0, stats=STATS, teachers=TEACHERS), "queue and base must be at least 1, got 4096 and 0"),
        (lambda: GML(dim=0, stats=STATS, teachers=TEACHERS), "temperature and dim must be above 0, got 0.1 and 0"),
        (lambda: DROLT(epsilon=-1.0, features=4, stats=STATS), "epsilon must not be negative, got -1.0"),
        (lambda: DROLT(temperature=0.0, features=4, stats=STATS), "temperature must be at least 0.001, got 0.0"),
    ],
)
def test_values_that_make_no_sense_are_refused(build: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build()


def test_a_projector_of_another_width_than_dim_is_refused() -> None:
    outputs = {
        name: Outputs(embedding=unit(2, 3).float(), head=torch.ones(3, 4), features=torch.ones(2, 4))
        for name in ("first", "second", "query", "teacher")
    }
    streams = dict.fromkeys(("main", *outputs), batch([0, 1]))
    terms = (BCL(dim=5, features=4), ProCo(dim=5, stats=STATS), GML(dim=5, stats=STATS, teachers=TEACHERS))
    for term in terms:
        with pytest.raises(ConfigError, match="dim must equal the projector's out, 3, got 5"):
            term(outputs, streams)
