"""ISDA, MetaSAug and RISDA: strengths over the epochs, memory of covariances, mixed labels, refused arguments and slots."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ltrun.augmentation import ISDA, RISDA, MetaSAug
from ltrun.augmentation.moments import RunningMoments, spread_of_logits
from ltrun.errors import ConfigError
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import assembled, blind_view, bound

STATS = ClassStats(torch.tensor([9, 4, 2, 0]))


def outputs_of(rows: int, features: int = 3) -> Outputs:
    generator = torch.Generator().manual_seed(rows)
    drawn, head = (torch.randn(n, features, generator=generator) for n in (rows, 4))
    return Outputs(features=drawn, logits=drawn @ head.T, head=head)


def main_of(targets: Labels) -> dict[str, Batch]:
    return {"main": Batch(torch.zeros(len(targets)), targets, torch.arange(len(targets)))}


def test_strengths_grow_with_the_epoch() -> None:
    isda, metasaug = ISDA(strength=0.5, num_classes=4, features=3), MetaSAug(strength=0.5, initial=0.6, stats=STATS, features=3)
    for epoch, plain, raised in ((0, 0.0, 0.3), (10, 0.25, 0.4), (19, 0.475, 0.49)):
        for part, expected in ((isda, plain), (metasaug, raised)):
            place = part.ratio.data_ptr()
            part.adapt(blind_view(Clock("train", epoch, 20), STATS))
            assert part.ratio.item() == pytest.approx(expected) and part.ratio.data_ptr() == place


def test_a_mixed_row_counts_for_each_label_by_its_share() -> None:
    """Two halves of a row are two rows of half the weight: the moments are those of the doubled batch."""
    outputs, first, second = outputs_of(5), torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 2, 0, 1, 2])
    keep = torch.tensor([0.25, 0.5, 0.75, 0.5, 1.0])
    mixed, doubled = (ISDA(num_classes=4, features=3) for _ in range(2))
    mixed.after_step({"main": outputs}, main_of(Labels.hard(first).mix(Labels.hard(second), keep)))
    both = Outputs(features=outputs.need("features").repeat(2, 1))
    share = Labels(torch.cat([first, second])[:, None], torch.cat([keep, 1 - keep])[:, None])
    doubled.after_step({"main": both}, main_of(share))
    for one, other in zip(mixed.moments.now(), doubled.moments.now(), strict=True):
        torch.testing.assert_close(one, other)
    assert mixed.moments.counts.sum() == pytest.approx(5)


def test_the_forward_pass_stores_nothing() -> None:
    outputs, labels = outputs_of(6), torch.tensor([0, 1, 2, 0, 1, 2])
    parts = ISDA(num_classes=4, features=3), MetaSAug(stats=STATS, features=3), RISDA(stats=STATS, features=3)
    for part in parts:
        before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
        part(outputs.need("logits"), labels, outputs)
        assert all(torch.equal(tensor, before[name]) for name, tensor in part.state_dict().items())


def test_diagonals_are_the_full_form_of_diagonal_covariances() -> None:
    head, variances = torch.randn(5, 6), torch.rand(5, 6)
    labels = torch.tensor([0, 4, 2, 2])
    full = spread_of_logits(head.double(), labels, torch.diag_embed(variances).double())
    torch.testing.assert_close(spread_of_logits(head, labels, variances).double(), full, rtol=1e-4, atol=1e-4)
    assert not full.gather(1, labels[:, None]).any(), "the label's own logit never moves"


def test_large_covariances_are_diagonal_unless_full_ones_are_asked_for() -> None:
    """ResNet-50 on ImageNet-LT, as in the authors' code for ImageNet; 8,142 classes of 64 features are kept in full."""
    assert RunningMoments(1000, 2048, None).covariances.shape == (1000, 2048)
    assert RunningMoments(100, 64, None).covariances.shape == (100, 64, 64)
    assert RunningMoments(100, 64, "diagonal").covariances.shape == (100, 64)
    assert RunningMoments(8142, 64, None).covariances.dim() == 3
    with pytest.raises(ConfigError, match=r"covariance must be null or 'diagonal' for 8,142 classes and 2,048 features"):
        RunningMoments(8142, 2048, "full")


REFUSED: dict[str, Callable[[], object]] = {
    "strength must not be negative": lambda: ISDA(strength=-1.0, num_classes=4, features=3),
    "strength and max_margin must not": lambda: MetaSAug(max_margin=-1.0, stats=STATS, features=3),
    "initial must be a share": lambda: MetaSAug(initial=2.0, stats=STATS, features=3),
    "alpha and beta must not be negative": lambda: RISDA(beta=-0.5, stats=STATS, features=3),
    "head_share and initial must lie": lambda: RISDA(head_share=1.5, stats=STATS, features=3),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_values_that_make_no_sense_are_refused(sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        REFUSED[sentence]()


@pytest.mark.parametrize("option", ["isda", "metasaug", "risda"])
@pytest.mark.parametrize(("slot", "other", "needs"), [("classifier", "cosine", "products"), ("ensemble", "ride", "head")])
def test_a_head_without_the_linear_form_is_refused(option: str, slot: str, other: str, needs: str) -> None:
    with pytest.raises(ConfigError, match=rf"augmentation={option} reads .*{needs}.*{slot}={other}"):
        bound(assembled({"augmentation": option, slot: other}))


def test_metasaug_needs_the_only_update() -> None:
    with pytest.raises(ConfigError, match=r"reweighting=meta_weight_net and augmentation=metasaug both set 'update'"):
        bound(assembled({"augmentation": "metasaug", "reweighting": "meta_weight_net"}))
