"""Losses of ResLT, BalPoE, MDCS, NCL and NCL++ against the original authors' numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.ensemble import MDCS, NCL, BalPoE, NCLPlus, ResLT
from ltrun.ensemble.balpoe import EPSILON, balpoe
from ltrun.ensemble.mdcs import mdcs
from ltrun.ensemble.ncl import hardest, ncl, ncl_plus
from ltrun.ensemble.reslt import _Floored, reslt
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view
from tests.support.golden import Golden, close, every_case

DTYPES = [torch.float64, torch.float32]
RESLT = [f"CIFAR-10 split (2:10, 4:10), beta={beta}" for beta in ("0.998", "1.0", "0.0")]
BALPOE = [
    "tau [0, 1, 2]",
    "tau [-1, 1, 3]",
    "tau [1, 1, 1], mixup lambda 0.85",
    "tau [0.0, 0.5, 1.0, 1.5, 2.0], mixup lambda 0.50",
]
MDCS_CASES = ["epoch 1", "epoch 20", "epoch 200"]
NCL_CASES = [
    "NCL, 3 networks, HCM_N=4, factors 0.6/0.6, ratios 1.0/1.0",
    "NCL, 2 networks, HCM_N=3, factors 0.3/0.9, ratios 0.5/2.0",
    "NCL, 1 networks, HCM_N=4, factors 0.6/0.6, ratios 1.0/1.0",
]
PLUS_CASES = [f"NCL++, 2 networks, {views} augmentations, HCM_N=4, factor 0.6" for views in (2, 4)]
COVERED = {"reslt": RESLT, "balpoe": BALPOE, "mdcs": MDCS_CASES, "ncl": [*NCL_CASES, *PLUS_CASES]}


class Case:
    """A golden case with its logits as leaves of a type."""

    def __init__(self, data: dict[str, Any], name: str, dtype: torch.dtype):
        found = next(case for case in data["cases"] if case["name"] == name)
        self.hyper, self.expected, self.roles, self.dtype = found["hyperparameters"], found["outputs"], found["inputs"], dtype
        self.inputs = data["inputs"]
        names = self.roles.get("logits", [self.roles[key] for key in self.roles if key.startswith("logit")])
        self.names = [names] if isinstance(names, str) else names
        self.leaves = [torch.tensor(self.inputs[key], dtype=dtype, requires_grad=True) for key in self.names]
        self.labels = torch.tensor(self.inputs[self.roles.get("labels", "labels")])
        self.counts = torch.tensor(self.inputs.get("cls_num_list", [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]))
        self.stats = ClassStats(self.counts)
        self.base = partial(Classification().loss, targets=Labels.hard(self.labels), outputs=Outputs())

    @property
    def experts(self) -> Tensor:
        return self.leaves[0] if self.leaves[0].ndim == 3 else torch.stack(self.leaves)

    def agree(self, value: Tensor, key: str) -> None:
        close(value, self.expected[key], {torch.float64: 1e-9, torch.float32: 2e-5}[self.dtype])

    def compare(self, loss: Tensor) -> None:
        self.agree(loss, "loss")
        for name, gradient in zip(self.names, torch.autograd.grad(loss, self.leaves, retain_graph=True), strict=True):
            key = f"grad_{name}" if f"grad_{name}" in self.expected else "grad_logits"
            self.agree(gradient, key)

    def term(self, term: Term, targets: Labels | None = None) -> None:
        """Compares the part itself, in float32."""
        streams = {"main": _batch(targets or Labels.hard(self.labels))}
        if self.dtype == torch.float32:
            self.compare(term({"main": Outputs(experts=self.experts)}, streams))


def _batch(targets: Labels) -> Batch:
    return Batch(torch.empty(len(targets), 0), targets, torch.arange(len(targets)))


@pytest.mark.parametrize("file", list(COVERED))
def test_every_case_is_covered(golden: Golden, file: str) -> None:
    with every_case(golden(file), {}) as take:
        for name in COVERED[file]:
            take(name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RESLT)
def test_reslt(golden: Golden, name: str, dtype: torch.dtype) -> None:

    case = Case(golden("reslt"), name, dtype)
    fused, beta = Classification(), case.hyper["beta"]
    own = Classification(criterion=_Floored(fused.criterion))
    term = ResLT([0.0, 0.2, 0.4], beta, stats=case.stats, classify=fused)
    assert term.trains(3).long().argmax(dim=1).tolist() == [0, 2, 4] and term.trains(3).sum(dim=1).tolist() == [10, 8, 6]
    alone, joint = (partial(loss.loss, outputs=Outputs()) for loss in (own, fused))
    value = partial(reslt, case.experts, term.trains(3).to(dtype), Labels.hard(case.labels), alone, joint)
    case.compare(value(beta))
    case.agree(value(1.0), "loss_ice")
    case.agree(value(0.0), "loss_fce")
    case.term(term)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BALPOE)
def test_balpoe(golden: Golden, name: str, dtype: torch.dtype) -> None:
    case = Case(golden("balpoe"), name, dtype)
    log_prior = (case.counts.double() / case.counts.sum() + EPSILON).log().to(dtype)
    taus = torch.tensor(case.hyper["tau"], dtype=dtype)
    targets = Labels.hard(case.labels)
    if case.hyper["mix"] is not None:
        partners = torch.tensor(case.inputs[case.roles["permutation"]])
        keep = torch.full((len(targets),), case.hyper["mix"], dtype=torch.float64)
        targets = Labels(targets.index, targets.weight.double()).mix(targets.take(partners), keep)
    base = partial(Classification().loss, targets=targets, outputs=Outputs())
    case.compare(balpoe(case.experts, taus[:, None] * log_prior, base))
    for logits, tau, expected in zip(case.experts, taus, case.expected["loss_per_expert_first_labels"], strict=True):
        close(case.base(logits + tau * log_prior), expected, {torch.float64: 1e-9, torch.float32: 2e-5}[dtype])
    case.agree(case.experts.mean(dim=0), "output")
    for given in [[float(tau) for tau in taus], *([None] if taus[0] == 0 else [])]:  # null: evenly from 0 to 2
        case.term(BalPoE(given, stats=case.stats, classify=Classification()), targets)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MDCS_CASES)
def test_mdcs(golden: Golden, name: str, dtype: torch.dtype) -> None:
    """The original's epoch counts from 1, its ramp of 20 epochs is a twentieth of 400."""
    case = Case(golden("mdcs"), name, dtype)
    half = len(case.labels) // 2
    exponents = torch.tensor(case.hyper["exponents"], dtype=torch.float64)
    shifts = (case.counts.double() ** exponents[:, None] + EPSILON).log().to(dtype)[:, None]
    weak, strong = (part + shifts for part in case.experts.split(half, dim=1))
    base, of_student = (
        partial(Classification().loss, targets=Labels.hard(labels), outputs=Outputs()) for labels in case.labels.split(half)
    )
    ramp = min(case.hyper["epoch"] / 20, 1.0)
    case.compare(mdcs(weak, strong, case.labels[:half], base, of_student, 0.6 * ramp))
    assert (weak.argmax(dim=2) == case.labels[:half]).sum(dim=1).tolist() == case.expected["rows_distilled"]
    if dtype == torch.float32:
        term = MDCS(stats=case.stats, classify=Classification())
        term.adapt(blind_view(Clock("train", case.hyper["epoch"] - 1, 400), case.stats))
        outputs = {name: Outputs(experts=case.experts[:, rows]) for name, rows in _views(half)}
        streams = {name: _batch(Labels.hard(case.labels[rows])) for name, rows in _views(half)}
        case.compare(term(outputs, streams))


def _views(half: int) -> list[tuple[str, slice]]:
    return [("main", slice(None, half)), ("student", slice(half, None))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NCL_CASES)
def test_ncl(golden: Golden, name: str, dtype: torch.dtype) -> None:
    """The ratio of the plain loss is 1 in the part; another one is a scale of the base and of `hard`."""
    case = Case(golden("ncl"), name, dtype)
    hyper, ratio = case.hyper, case.hyper["ce_ratio"]
    mask = hardest(case.experts[0], case.labels[:, None], hyper["hcm_n"])
    close(mask, case.expected["mask"], 0)
    balanced = case.experts + case.counts.double().log().to(dtype)

    def base(logits: Tensor) -> Tensor:
        return ratio * case.base(logits)

    weights = (hyper["hcm_ratio"] / ratio, hyper["diversity_factor"], hyper["diversity_factor_hcm"])
    case.compare(ncl(balanced, mask, base, *weights))
    if ratio == 1:
        case.term(NCL(hyper["hcm_n"] / 10, *weights, stats=case.stats, classify=Classification()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLUS_CASES)
def test_ncl_plus(golden: Golden, name: str, dtype: torch.dtype) -> None:
    """The gradients are of the definition: the original's are nan where a target is masked to 0."""
    case = Case(golden("ncl"), name, dtype)
    hyper, views = case.hyper, case.hyper["intra_n"]
    rows = len(case.labels) // views
    raw = case.experts.unflatten(1, (views, rows)).transpose(0, 1)  # (A, E, B, C)
    labels = case.labels.split(rows)
    masks = torch.stack([hardest(view[0], own[:, None], hyper["hcm_n"]) for view, own in zip(raw, labels, strict=True)])
    close(masks.flatten(0, 1), case.expected["mask"], 0)
    bases = [partial(Classification().loss, targets=Labels.hard(own), outputs=Outputs()) for own in labels]
    balanced = raw + case.counts.double().log().to(dtype)
    case.compare(ncl_plus(balanced, masks, bases, hyper["hcm_ratio"], hyper["diversity_factor"]))
    if views == len(NCLPlus.streams) and dtype == torch.float32:
        term = NCLPlus(hyper["hcm_n"] / 10, stats=case.stats, classify=Classification())
        outputs = {name: Outputs(experts=view) for name, view in zip(term.streams, raw, strict=True)}
        streams = {name: _batch(Labels.hard(own)) for name, own in zip(term.streams, labels, strict=True)}
        case.compare(term(outputs, streams))


def test_masked_logits_stay_in_the_softmax_as_zeros(golden: Golden) -> None:
    """Fact: logits outside the mask become 0 and are not removed, so a loss over the hard classes alone is another one."""
    case = Case(golden("ncl"), NCL_CASES[2], torch.float64)
    mask = hardest(case.experts[0], case.labels[:, None], 4)
    balanced = case.experts[0] + case.counts.double().log()
    removed = balanced.masked_fill(mask == 0, -torch.inf)
    loss = F.cross_entropy(balanced, case.labels) + F.cross_entropy(removed, case.labels)
    assert abs(loss.item() - case.expected["loss"]) > 1e-3
