"""Count-dependent logits against the original authors' numbers: VS, CDT, logit adjustment, seesaw."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.logit_adjustment import CDT, VS, LogitAdjustment, Seesaw
from ltrun.logit_adjustment.cdt import class_temperatures
from ltrun.logit_adjustment.seesaw import seesaw_logits
from ltrun.logit_adjustment.vs import prior_shift
from ltrun.parts import Adjust
from ltrun.reweighting import EffectiveNumber
from ltrun.reweighting.effective_number import effective_number_weights
from ltrun.types import Batch, Labels
from tests.support.golden import COUNTS, STATS, Golden, agree, close, compose, every_case, read


def step(part: Adjust, labels: Tensor) -> None:
    """Calls `after_step`, as the trainer does after an optimizer step."""
    batch = Batch(torch.zeros(len(labels), 1), Labels.hard(labels), torch.arange(len(labels)))
    part.after_step({}, {"main": batch})


def test_vs(golden: Golden) -> None:
    data, inputs, y = read(golden, "vs_loss")
    left_out = {"BinaryVSLoss iota=(neg -0.5,pos 1.5) Delta=(neg 1,pos 0.4)": "two classes are two logits here, not a sigmoid"}
    with every_case(data, left_out) as take:

        def pure(gamma: float, tau: float, weights: Tensor | None = None) -> Callable[[Tensor], Tensor]:
            def loss(x: Tensor) -> Tensor:
                logits = x / class_temperatures(COUNTS, gamma).to(x.dtype) + prior_shift(COUNTS, tau).to(x.dtype)
                return F.cross_entropy(logits, y, None if weights is None else weights.to(x.dtype))

            return loss

        for gamma, tau in ((0.3, 1.0), (0.15, 1.0), (0.0, 1.0), (0.3, 0.0)):
            outputs = take(f"gamma={gamma} tau={tau}")["outputs"]
            close(class_temperatures(COUNTS, gamma), outputs["Delta"], 1e-9)
            close(prior_shift(COUNTS, tau), outputs["iota"], 1e-9)
            agree(outputs, inputs["logits"], pure(gamma, tau), compose(y, [VS(gamma, tau, stats=STATS)]))
            if tau == 0:
                agree(outputs, inputs["logits"], pure(gamma, tau), compose(y, [CDT(gamma, stats=STATS)]))
            if gamma == 0:
                agree(outputs, inputs["logits"], pure(gamma, tau), compose(y, [LogitAdjustment(stats=STATS)]))
        both = take("gamma=0.3 tau=1 with CB weights (DRW)")["outputs"]
        weights = effective_number_weights(COUNTS, 0.9999)
        composed = compose(y, [VS(stats=STATS)], [EffectiveNumber(stats=STATS)])
        agree(both, inputs["logits"], pure(0.3, 1.0, weights), composed)


def test_seesaw(golden: Golden) -> None:
    data, inputs, y = read(golden, "seesaw")
    batches = {1: (inputs["logits"], y), 2: (inputs["logits_b"], torch.tensor(inputs["labels_b"]))}
    with every_case(data, {}) as take:

        def check(name: str, part: Seesaw, logits: Any, labels: Tensor) -> None:
            outputs = take(name)["outputs"]
            counts = part.counts + torch.bincount(labels, minlength=10)

            def pure(x: Tensor) -> Tensor:
                return F.cross_entropy(seesaw_logits(x, labels, counts, part.p, part.q, part.eps), labels)

            agree(outputs, logits, pure, compose(labels, [part]))
            step(part, labels)
            assert part.counts.tolist() == outputs["cum_samples_after"]

        for p, q in ((0.8, 2.0), (0.8, 0.0), (0.0, 2.0), (0.4, 1.0)):
            part = Seesaw(p, q, num_classes=10)
            for number, (logits, labels) in batches.items():
                check(f"p={p} q={q}, batch {number} of 3 (counts carried over)", part, logits, labels)
        preset = Seesaw(num_classes=10)
        preset.counts.copy_(COUNTS)
        check("p=0.8 q=2, counts preset to cls_num_list before the batch", preset, inputs["logits"], y)
