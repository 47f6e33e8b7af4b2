"""Post-hoc parts that exchange class priors, and TDE: splits they see, predictions they recover, values they refuse."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from ltrun import posthoc
from ltrun.classifier import Causal
from ltrun.config.rows import rows_of
from ltrun.errors import ConfigError
from ltrun.parts import PostHoc
from ltrun.posthoc import (
    NCM,
    TDE,
    UNOIC,
    EffectivePrior,
    LabelShiftEM,
    LikelihoodFlattening,
    LogitAdjustment,
    PCSoftmax,
    TauNorm,
)
from ltrun.posthoc.label_shift_em import em_prior
from ltrun.types import ClassStats, Outputs

CONF = Path(__file__).parents[3] / "conf"
STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
PARTS: dict[str, Callable[[ClassStats], PostHoc]] = {
    "pc_softmax": lambda stats: PCSoftmax(stats=stats),
    "uno_ic": lambda stats: UNOIC(stats=stats),
    "uno_ic_flattened": lambda stats: LikelihoodFlattening(UNOIC(stats=stats)),
    "effective_prior": lambda stats: EffectivePrior(stats=stats),
    "label_shift_em": lambda stats: LabelShiftEM(stats=stats),
}


class Split:
    """A split with given outputs; reading its labels raises, as it does for test inputs."""

    def __init__(self, outputs: Outputs):
        self.given = outputs

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        assert not augment
        return self.given

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        yield self.outputs(augment, epoch)

    @property
    def labels(self) -> Tensor:
        raise PermissionError("labels")


def fitted(part: PostHoc, logits: Tensor) -> PostHoc:
    part.fit({name: Split(Outputs(logits=logits)) for name in part.sees})
    return part


def drawn(shares: Tensor, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Labels drawn by `shares`, and (rows, C) log likelihoods of their points, which have unit noise around C corners."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(shares, rows, replacement=True, generator=generator)
    points = 2 * F.one_hot(labels, len(shares)) + torch.randn(rows, len(shares), generator=generator)
    return labels, -(points[:, None] - 2 * torch.eye(len(shares))).square().sum(2) / 2


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).float().mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PARTS)
def test_scores_are_finite(name: str, dtype: torch.dtype) -> None:
    logits = (10 * torch.randn(6, 5)).to(dtype)
    part = fitted(PARTS[name](STATS), logits)
    for rows in (logits, logits[:1], 50 * logits):
        scores = part(Outputs(logits=rows))
        assert scores.shape == rows.shape and scores.isfinite().all()
    assert fitted(PARTS[name](STATS), 1000 * logits)(Outputs(logits=logits)).isfinite().all()  # a network certain of all images


@pytest.mark.parametrize("name", PARTS)
def test_scores_of_thousands_of_classes_are_finite(name: str) -> None:
    stats = ClassStats((1000 * torch.arange(1, 8143) ** -0.9).long().clamp(min=2))
    logits = torch.randn(64, 8142)
    assert fitted(PARTS[name](stats), logits)(Outputs(logits=logits)).isfinite().all()


def test_only_label_shift_em_sees_test_inputs() -> None:
    seen = {name: PARTS[name](STATS).sees for name in PARTS}
    assert {name for name, sees in seen.items() if "test_inputs" in sees} == {"label_shift_em"}
    assert seen["uno_ic_flattened"] == {"val"} and seen["effective_prior"] == {"train"}
    assert not seen["pc_softmax"] | seen["uno_ic"]


def test_each_part_restores_the_accuracy_of_balanced_posteriors() -> None:
    """Posteriors that are exact for a long-tailed prior become as accurate as the posteriors for the uniform prior."""
    stats = ClassStats(torch.tensor([800, 100, 60, 30, 10]))
    _, train = drawn(stats.prior, 20_000, 0)
    labels, likelihood = drawn(torch.ones(5) / 5, 5000, 1)
    train, test = train + stats.prior.log(), likelihood + stats.prior.log()
    best, plain = accuracy(likelihood, labels), accuracy(test, labels)
    assert best > plain + 0.1
    for name in ("pc_softmax", "uno_ic"):
        assert accuracy(PARTS[name](stats)(Outputs(logits=test)), labels) == pytest.approx(best, abs=1e-3)
    estimated = {name: PARTS[name](stats) for name in ("effective_prior", "label_shift_em")}
    for part in estimated.values():
        part.fit({"train": Split(Outputs(logits=train)), "test_inputs": Split(Outputs(logits=test))})
        assert accuracy(part(Outputs(logits=test)), labels) == pytest.approx(best, abs=0.01)


def test_a_known_or_estimated_target_prior_beats_the_uniform_prior_on_reversed_test_data() -> None:
    """The test data have the class sizes of the training data in reverse order."""
    stats, reverse = ClassStats(torch.tensor([800, 100, 60, 30, 10])), [10.0, 30.0, 60.0, 100.0, 800.0]
    _, train = drawn(stats.prior, 20_000, 0)
    shares = torch.tensor(reverse) / 1000
    labels, likelihood = drawn(shares, 5000, 1)
    train, test = train + stats.prior.log(), likelihood + stats.prior.log()
    uniform, known = (accuracy(PCSoftmax(target, stats=stats)(Outputs(logits=test)), labels) for target in (None, reverse))
    assert known > uniform + 0.03
    assert accuracy(UNOIC(1.0, reverse, stats=stats)(Outputs(logits=test)), labels) == pytest.approx(known, abs=1e-3)
    part = LabelShiftEM(stats=stats)
    part.fit({"train": Split(Outputs(logits=train)), "test_inputs": Split(Outputs(logits=test))})
    assert accuracy(part(Outputs(logits=test)), labels) == pytest.approx(known, abs=0.01)
    found = em_prior(test.double().softmax(1), stats.prior.double())
    torch.testing.assert_close(found, shares.double(), atol=0.03, rtol=0)


def test_em_never_lowers_the_likelihood() -> None:
    source = STATS.prior.double().clamp(min=1e-3)
    source /= source.sum()
    posteriors = (3 * torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).double()).softmax(1)
    values = [(posteriors / source @ em_prior(posteriors, source, steps, 0.0)).log().mean() for steps in (1, 2, 4, 8, 64)]
    assert values == sorted(values)
    assert torch.equal(em_prior(posteriors, source, 64, tolerance=10.0), em_prior(posteriors, source, 1, 0.0))


def test_a_class_without_training_images_is_shifted_like_the_rarest_class() -> None:
    """The log of a prior 0 + 1e-12 is -27.6: subtracted from the logit of an empty class, it made the class win everywhere."""
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    for part in (LogitAdjustment(stats=STATS), PCSoftmax(stats=STATS), UNOIC(stats=STATS)):
        shift = part(Outputs(logits=logits)) - logits
        torch.testing.assert_close(shift[:, 4], shift[:, 3])
        assert 0.05 < (part(Outputs(logits=logits)).argmax(1) == 4).float().mean() < 0.95
    absent = [1.0, 1.0, 1.0, 1.0, 0.0]
    for unwanted in (PCSoftmax(absent, stats=STATS), UNOIC(1.0, absent, stats=STATS)):
        assert not (unwanted(Outputs(logits=logits)).argmax(1) == 4).any()


def test_a_class_without_training_images_does_not_win_by_its_tiny_mean_prediction() -> None:
    """Its mean prediction may be 1e-12 and is no prior: the smallest mean prediction of a class with images replaces it."""
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 4] -= 12
    for name in ("effective_prior", "label_shift_em"):
        known, unknown = (fitted(PARTS[name](ClassStats(torch.tensor(n))), logits) for n in ([9, 8, 7, 6, 5], [9, 8, 7, 6, 0]))
        assert not (unknown(Outputs(logits=logits)).argmax(1) == 4).any(), name
        assert name == "label_shift_em" or (known(Outputs(logits=logits)).argmax(1) == 4).any(), name


def test_flattening_leaves_images_of_usual_entropy_alone() -> None:
    usual = torch.tensor([[5.0, 0, 0, 0, 0], [4.0, 1, 0, 0, 0], [3.0, 0, 2, 0, 0]])
    unsure = torch.tensor([[0.5, 0.4, 0.3, 0.2, 0.1]])
    part, plain = fitted(LikelihoodFlattening(UNOIC(0.0, stats=STATS)), usual), UNOIC(0.0, stats=STATS)
    torch.testing.assert_close(part(Outputs(logits=usual[:2])), plain(Outputs(logits=usual[:2])))
    before, after = plain(Outputs(logits=unsure))[0, :4], part(Outputs(logits=unsure))[0, :4]
    assert before.argsort().equal(after.argsort()) and after.std() < 0.9 * before.std()


def causal_outputs(rows: int = 40, num_heads: int = 2) -> tuple[Causal, Outputs]:
    head = Causal(num_heads, features=8, num_classes=5)
    features = torch.randn(rows, 8) + torch.linspace(0, 2, 8)
    with torch.no_grad():
        return head, Outputs(features=features, logits=head(features), scale=head.scale, head=head.classes)


def test_tde_removes_the_mean_feature_in_proportion_to_alpha() -> None:
    head, train = causal_outputs()
    assert train.features is not None and train.logits is not None
    rows = []
    for alpha in (0.0, 1.0, 1.5):
        part = TDE(alpha, num_classes=5)
        part.fit({"train": Split(train)})
        rows.append(part(train))
        mean = Outputs(features=part.mean[None], scale=head.scale, head=train.head)
        torch.testing.assert_close(part(mean), (1 - alpha) * head(part.mean[None]).detach())
    torch.testing.assert_close(rows[0], train.logits)
    torch.testing.assert_close(rows[2], rows[0] + 1.5 * (rows[1] - rows[0]))  # scores are linear in alpha


def test_alpha_defaults_to_the_published_value_for_the_number_of_classes() -> None:
    """The authors' configurations for CIFAR-10, CIFAR-100, Places-LT and ImageNet-LT have these values."""
    assert [TDE(num_classes=classes).alpha for classes in (10, 100, 365, 1000)] == [1.0, 1.5, 3.0, 3.0]
    assert TDE(0.5, num_classes=10).alpha == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tde_works_in_low_precision_and_on_one_image(dtype: torch.dtype) -> None:
    _, train = causal_outputs()
    lower = train.map(lambda tensor: tensor.to(dtype))
    exact, part = TDE(1.5, num_classes=5), TDE(1.5, num_classes=5)
    exact.fit({"train": Split(train)})
    part.fit({"train": Split(lower)})
    assert lower.features is not None and lower.features.dtype == dtype
    one = Outputs(features=lower.features[:1], scale=lower.scale, head=lower.head)
    torch.testing.assert_close(part(one), exact(train)[:1], atol=0.2 if dtype == torch.bfloat16 else 1e-5, rtol=0)
    zero = Outputs(features=torch.zeros(1, 8), scale=lower.scale, head=lower.head)
    assert part(zero).isfinite().all()


@pytest.mark.parametrize("num_heads", [1, 3, 4])
def test_tde_refuses_a_number_of_heads_other_than_the_classifiers(num_heads: int) -> None:
    _, train = causal_outputs(num_heads=2)
    with pytest.raises(ConfigError, match="num_heads="):
        TDE(num_heads=num_heads, num_classes=5).fit({"train": Split(train)})


@pytest.mark.parametrize(
    ("option", "prefix", "part", "argument"),
    [
        ("logit_adjustment_sweep", "la", LogitAdjustment, "tau"),
        ("tau_norm_sweep", "tau_norm", TauNorm, "tau"),
        ("tde_sweep", "tde", TDE, "alpha"),
    ],
)
def test_the_rows_of_a_sweep_are_named_by_their_values(option: str, prefix: str, part: type, argument: str) -> None:
    option_file = yaml.safe_load((CONF / "posthoc" / f"{option}.yaml").read_text())
    rows = {name: node for name, (_, node) in rows_of(option_file).items()}
    values = [row[argument] for row in rows.values()]
    assert len(rows) > 4 and values == sorted(set(values))
    assert list(rows) == [f"{prefix}_{value:g}" for value in values]
    assert {getattr(posthoc, row["_target_"].rpartition(".")[2]) for row in rows.values()} == {part}


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: PCSoftmax([1.0] * 4, stats=STATS), "target"),
        (lambda: PCSoftmax([0.0] * 5, stats=STATS), "target"),
        (lambda: PCSoftmax([1.0, 1, 1, 1, -1], stats=STATS), "target"),
        (lambda: UNOIC(-0.5, stats=STATS), "strength"),
        (lambda: UNOIC(target=[], stats=STATS), "target"),
        (lambda: LikelihoodFlattening(NCM(num_classes=5)), "then"),
        (lambda: LikelihoodFlattening(EffectivePrior(stats=STATS)), "then"),
        (lambda: EffectivePrior(-1.0, stats=STATS), "tau"),
        (lambda: LabelShiftEM(0, stats=STATS), "iterations"),
        (lambda: TDE(-1.0, num_classes=5), "alpha"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} must"):
        make()
