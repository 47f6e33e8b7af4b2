"""The class-sensitive losses against the original authors' numbers: as pure functions, and as options that a user composes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.logit_adjustment import BalancedSoftmax, LogitAdjustment
from ltrun.logit_adjustment.balanced_softmax import log_counts
from ltrun.logit_adjustment.logit_adjustment import log_prior
from ltrun.margin import LDAM
from ltrun.margin.ldam import ldam_logits, ldam_margins
from ltrun.reweighting import Deferred, EffectiveNumber, Focal, InverseFrequency
from ltrun.reweighting.effective_number import effective_number_weights
from ltrun.reweighting.focal import focal_weights
from ltrun.reweighting.inverse_frequency import inverse_frequency_weights
from tests.support.golden import COUNTS, STATS, Golden, agree, at_epoch, close, compose, every_case, read, weighted

SIGMOIDS = "sums over C sigmoids: test_reweighting.py"


def test_ldam(golden: Golden) -> None:
    data, inputs, y = read(golden, "ldam")
    with every_case(data, {}) as take:

        def pure(max_margin: float, scale: float, weights: Tensor | None = None) -> Callable[[Tensor], Tensor]:
            def loss(x: Tensor) -> Tensor:
                logits = ldam_logits(x, y, ldam_margins(COUNTS, max_margin).to(x.dtype), scale)
                losses = F.cross_entropy(logits, y, reduction="none")
                return losses.mean() if weights is None else weighted(losses, weights[y])

            return loss

        for max_margin, scale in ((0.5, 30), (0.3, 30), (0.5, 1)):
            outputs = take(f"max_m={max_margin} s={scale}")["outputs"]
            close(ldam_margins(COUNTS, max_margin), outputs["m_list"], 1e-9)
            part = LDAM(max_margin, scale, stats=STATS)
            agree(outputs, inputs["cosine"], pure(max_margin, scale), compose(y, [part]))

        raw = take("raw logits, s=1 (non-cosine sanity case)")["outputs"]
        agree(raw, inputs["logits"], pure(0.5, 1), compose(y, [LDAM(0.5, 1.0, stats=STATS)]))

        weights = effective_number_weights(COUNTS, 0.9999)
        drw = take("DRW stage, beta=0.9999")["outputs"]
        close(weights, drw["class_weights"], 1e-9)
        active = at_epoch(Deferred(EffectiveNumber(stats=STATS)), 160)
        agree(drw, inputs["cosine"], pure(0.5, 30, weights), compose(y, [LDAM(stats=STATS)], [active]))

        # RIDE's logits come out of the head times 30 and its epochs count from 1: 161 is epoch index 160.
        ride = take("RIDE LDAM: input already times s; epoch 161 (1-based) is the first re-weighted one")["outputs"]
        agree(ride, inputs["cosine"], pure(0.5, 30, weights), compose(y, [LDAM(stats=STATS)], [active], scale=30.0))
        waiting = at_epoch(Deferred(EffectiveNumber(stats=STATS)), 159)
        before = compose(y, [LDAM(stats=STATS)], [waiting], scale=30.0)
        agree(ride, inputs["cosine"], pure(0.5, 30), before, loss="loss_epoch160", gradient="none recorded")


def test_class_balanced(golden: Golden) -> None:
    data, inputs, y = read(golden, "class_balanced")
    focal = ((0.9999, 1.0), (0.9999, 2.0), (0.999, 0.5), (0.999, 2.0))
    left_out = {
        'QUIRK vandit15 "softmax": binary CE on softmax probabilities, beta=0.999': "a mistake of a port, recorded as such",
        **{f"TF original: CB-sigmoid beta={b}": SIGMOIDS for b in (0.9999, 0.999)},
        **{f"CB-focal beta={b} gamma={g}": SIGMOIDS for b, g in focal},
        **{f"TF original: CB-focal beta={b} gamma={g}": SIGMOIDS for b, g in focal},
    }
    with every_case(data, left_out) as take:
        for beta in (0.9, 0.99, 0.9999):
            outputs = take(f"weights beta={beta}")["outputs"]
            weights = effective_number_weights(COUNTS, beta)
            close(weights, outputs["class_weights"], 1e-9)
            assert weights.sum().item() == pytest.approx(outputs["sum"], rel=1e-12)
            effective = torch.tensor(outputs["effective_num"], dtype=torch.float64)
            close(weights * effective / (weights * effective)[0], [1.0] * 10, 1e-9)

        def pure(beta: float, mean: str) -> Callable[[Tensor], Tensor]:
            weights = effective_number_weights(COUNTS, beta)[y]
            return lambda x: weighted(F.cross_entropy(x, y, reduction="none"), weights, mean)

        for beta in (0.9999, 0.999):
            outputs = take(f"CB-softmax, PyTorch weighted mean, beta={beta}")["outputs"]
            part = EffectiveNumber(beta, stats=STATS)
            agree(outputs, inputs["logits"], pure(beta, "weights"), compose(y, [], [part]))
        agree(take("TF original: CB-softmax beta=0.9999")["outputs"], inputs["logits"], pure(0.9999, "batch"))


def test_weighted_cross_entropy(golden: Golden) -> None:
    data, inputs, y = read(golden, "weighted_ce")
    left_out = {"1 - log(n_c/n_max)": "LADE's own weights, which are no option of ltrun"}
    with every_case(data, left_out) as take:
        weights = inverse_frequency_weights(COUNTS, 1.0)

        def pure(mean: str) -> Callable[[Tensor], Tensor]:
            return lambda x: weighted(F.cross_entropy(x, y, reduction="none"), weights[y], mean)

        inverse = take("inverse_frequency_sum_to_C (IBReweight rule)")["outputs"]
        close(weights, inverse["class_weights"], 1e-9)
        composed = compose(y, [], [InverseFrequency(stats=STATS)])
        agree(inverse, inputs["logits"], pure("weights"), composed)
        agree(inverse, inputs["logits"], pure("batch"), loss="loss_plain_mean_variant", gradient="none recorded")

        cost_sensitive = take("cost_sensitive (n_min/n_c)^1")[
            "outputs"
        ]  # the same weights on another scale, hence the same loss
        close(weights / weights.max(), cost_sensitive["class_weights"], 1e-9)
        agree(cost_sensitive, inputs["logits"], pure("weights"), composed)

        plain = take("plain softmax CE (reference)")["outputs"]
        agree(plain, inputs["logits"], lambda x: F.cross_entropy(x, y), compose(y))
        agree(plain, inputs["logits"], lambda x: F.cross_entropy(x, y), compose(y, [], [InverseFrequency(0.0, stats=STATS)]))
        waiting = at_epoch(Deferred(InverseFrequency(stats=STATS)), 0)
        agree(plain, inputs["logits"], lambda x: F.cross_entropy(x, y), compose(y, [], [waiting]))


def test_focal(golden: Golden) -> None:
    data, inputs, y = read(golden, "focal")
    left_out = {"focal gamma=1.0 with CB weights beta=0.9999 (weight inside the exponent)": "test_reweighting.py"}
    with every_case(data, left_out) as take:

        def pure(gamma: float, detach: bool = False, times: float = 1.0) -> Callable[[Tensor], Tensor]:
            def loss(x: Tensor) -> Tensor:
                weights = focal_weights(x.detach() if detach else x, y, gamma)
                return times * weighted(F.cross_entropy(x, y, reduction="none"), weights, "batch")

            return loss

        for gamma in (0.0, 0.5, 2.0):
            outputs = take(f"focal gamma={gamma}")["outputs"]
            agree(outputs, inputs["logits"], pure(gamma), compose(y, [], [Focal(gamma)]))
        stopped = take("focal gamma=2, gradient stopped through (1-p)^gamma (LADE)")["outputs"]
        agree(stopped, inputs["logits"], pure(2.0, True), compose(y, [], [Focal(2.0, detach=True)]))
        tenfold = take("focal gamma=1 times 10 (IB-Loss repo)")["outputs"]
        focal = compose(y, [], [Focal()])
        agree(tenfold, inputs["logits"], pure(1.0, times=10.0), lambda x: 10.0 * focal(x))


def test_balanced_softmax(golden: Golden) -> None:
    data, inputs, y = read(golden, "balanced_softmax")
    composed = compose(y, [BalancedSoftmax(stats=STATS)])

    def pure(reduction: str) -> Callable[[Tensor], Tensor]:
        return lambda x: F.cross_entropy(x + log_counts(COUNTS).to(x.dtype), y, reduction=reduction)

    with every_case(data, {}) as take:
        agree(take("reduction=mean")["outputs"], inputs["logits"], pure("mean"), composed)
        agree(take("reduction=sum")["outputs"], inputs["logits"], pure("sum"), lambda x: len(y) * composed(x))


def test_logit_adjustment(golden: Golden) -> None:
    data, inputs, y = read(golden, "logit_adjustment")
    left_out = {f"post-hoc tau={tau}": "test_posthoc.py" for tau in (1, 0.5)}
    with every_case(data, left_out) as take:

        def pure(tau: float, eps: float = 1e-12, weights: Tensor | None = None) -> Callable[[Tensor], Tensor]:
            def loss(x: Tensor) -> Tensor:
                losses = F.cross_entropy(x + log_prior(COUNTS, tau, eps).to(x.dtype), y, reduction="none")
                return losses.mean() if weights is None else weighted(losses, weights[y])

            return loss

        one = take("training loss tau=1")["outputs"]
        agree(one, inputs["logits"], pure(1.0), compose(y, [LogitAdjustment(stats=STATS)]))
        assert pure(1.0)(torch.tensor(inputs["logits"])).item() == pytest.approx(one["google_original_float32_loss"], rel=2e-5)
        # This implementation has no eps, which shows at 1e-8 for tau = 2; Google's, whose eps is the default, ran in float32.
        two = take("training loss tau=2.0")["outputs"]
        agree(two, inputs["logits"], pure(2.0, eps=0.0), compose(y, [LogitAdjustment(2.0, stats=STATS)]))
        assert pure(2.0)(torch.tensor(inputs["logits"])).item() == pytest.approx(two["google_original_float32_loss"], rel=2e-5)
        lade = take("LADE PriorCE (log(pi+1e-9))")["outputs"]
        agree(lade, inputs["logits"], pure(1.0, eps=1e-9), compose(y, [LogitAdjustment(stats=STATS)]))
        both = take("training loss tau=1 with CB weights")["outputs"]
        weights = effective_number_weights(COUNTS, 0.9999)
        composed = compose(y, [LogitAdjustment(stats=STATS)], [EffectiveNumber(stats=STATS)])
        agree(both, inputs["logits"], pure(1.0, weights=weights), composed)


def test_training_adds_the_log_prior(golden: Golden) -> None:
    """MONICA's training has the post-hoc sign: it subtracts the log prior, so a head class costs more than a tail class."""
    data, inputs, y = read(golden, "logit_adjustment")
    logits = torch.tensor(inputs["logits"])
    wrong = F.cross_entropy(logits - log_prior(COUNTS, 1.0).float(), y).item()
    assert abs(wrong - data["cases"][0]["outputs"]["loss"]) > 0.1  # so the golden value tells the signs apart
    head, tail = torch.tensor([0]), torch.tensor([9])
    for part in (LogitAdjustment(stats=STATS), BalancedSoftmax(stats=STATS)):
        assert compose(tail, [part])(torch.zeros(1, 10)) > compose(head, [part])(torch.zeros(1, 10)) + 1
