"""The loss of a step is the formula of DESIGN.md, whatever margins, weights, mixes and further terms come together."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltrun.engine.objective import Objective
from ltrun.engine.stage import StageRun
from ltrun.errors import TrainingError
from ltrun.logit_adjustment import BalancedSoftmax, LogitAdjustment
from ltrun.loss import Classification
from ltrun.margin import LDAM
from ltrun.parts import Adjust, Augment, Criterion, Mixer, Network, Part, Term, Weigh
from ltrun.reweighting import Deferred, EffectiveNumber, Focal, InverseFrequency
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, Streams, View
from tests.support.cases import COUNTS, FP32, assembled, bound, differing, digits, small, snapshot, stats, trainer
from tests.support.narrow import of_type

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
COUNTED = [500, 60, 9, 1, 0]
HEAD_SCALE = 16.0  # of the head, another than LDAM's own 30


# ---------------------------------------------------------------------------- the formula, a second time, in plain numbers


def log_softmax(row: list[float]) -> list[float]:
    top = max(row)
    norm = math.fsum(math.exp(value - top) for value in row)
    return [value - top - math.log(norm) for value in row]


def effective(beta: float) -> list[float]:
    raw = [(1 - beta) / (1 - beta**n) if n else 0.0 for n in COUNTED]
    return [value * sum(n > 0 for n in COUNTED) / math.fsum(raw) for value in raw]


def inverse(exponent: float) -> list[float]:
    raw = [n**-exponent if n else 0.0 for n in COUNTED]
    return [value * sum(n > 0 for n in COUNTED) / math.fsum(raw) for value in raw]


def by_hand_adjust(name: str, row: list[float], label: int) -> list[float]:
    if name == "ldam":
        least = min(n for n in COUNTED if n)
        margin = 0.5 * (least / max(COUNTED[label], least)) ** 0.25
        cosines = [value / HEAD_SCALE for value in row]
        return [30.0 * (cosine - (margin if c == label else 0.0)) for c, cosine in enumerate(cosines)]
    if name == "balanced_softmax":
        return [value + math.log(max(n, 1)) for value, n in zip(row, COUNTED, strict=True)]
    if name == "logit_adjustment":
        return [value + math.log((n / sum(COUNTED)) ** 1.5 + 1e-12) for value, n in zip(row, COUNTED, strict=True)]
    raise KeyError(name)


def by_hand_weight(name: str, row: list[float], label: int) -> float:
    if name == "effective_number":
        return effective(0.99)[label]
    if name == "inverse_frequency":
        return inverse(0.5)[label]
    if name == "focal":
        return (1 - math.exp(log_softmax(row)[label])) ** 2
    if name == "deferred_off":
        return 1.0
    if name == "deferred_on":
        return effective(0.99)[label]
    raise KeyError(name)


MEANS = {"focal": "batch", "effective_number": "weights", "inverse_frequency": "weights"}
MEANS |= {"deferred_off": "weights", "deferred_on": "weights"}


def by_hand(logits: Tensor, targets: Labels, adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> float:
    """sum_m sum_i weight[i,m] * w(i,m) * ce(adjust(logits, y_m), y_m)[i] / norm_m."""
    total = 0.0
    for column in range(targets.index.shape[1]):
        summed, norm = [], []
        for i, row in enumerate(logits.double().tolist()):
            label = int(targets.index[i, column])
            for name in adjusts:
                row = by_hand_adjust(name, row, label)
            weights = [by_hand_weight(name, row, label) for name in weighs]
            summed.append(float(targets.weight[i, column]) * math.prod(weights) * -log_softmax(row)[label])
            counted = [w for w, name in zip(weights, weighs, strict=True) if MEANS[name] == "weights"]
            norm.append(math.prod(counted) if counted else 1.0)
        total += math.fsum(summed) / math.fsum(norm)
    return total


# --------------------------------------------------------------------------------------------------------- Classification


def view(epoch: int, epochs: int = 10) -> View:
    return View(Clock("train", epoch, epochs), STATS, lambda inputs: Outputs(), torch.Generator())


def part(name: str) -> Any:
    if name.startswith("deferred"):
        deferred = Deferred(EffectiveNumber(0.99, stats=STATS))
        deferred.adapt(view(8 if name == "deferred_on" else 7))
        return deferred
    return {
        "ldam": lambda: LDAM(stats=STATS),
        "balanced_softmax": lambda: BalancedSoftmax(stats=STATS),
        "logit_adjustment": lambda: LogitAdjustment(1.5, stats=STATS),
        "effective_number": lambda: EffectiveNumber(0.99, stats=STATS),
        "inverse_frequency": lambda: InverseFrequency(0.5, stats=STATS),
        "focal": lambda: Focal(2.0),
    }[name]()


def classification(adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> Classification:
    loss = Classification(adjusts=[part(name) for name in adjusts], weighs=[part(name) for name in weighs])
    return loss.double()


def example(batch: int, columns: int, seed: int = 0) -> tuple[Tensor, Labels]:
    """Logits within the cosines of the head, labels of the classes that have images, shares that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = HEAD_SCALE * (2 * torch.rand(batch, 5, generator=generator, dtype=torch.float64) - 1)
    index = torch.randint(0, 4, (batch, columns), generator=generator)
    weight = torch.rand(batch, columns, generator=generator, dtype=torch.float64)
    return logits, Labels(index, weight / weight.sum(1, keepdim=True))


ADJUSTS = [
    (), ("ldam",), ("balanced_softmax",), ("logit_adjustment",), ("ldam", "balanced_softmax"), ("ldam", "logit_adjustment"),
    ("logit_adjustment", "balanced_softmax"), ("logit_adjustment", "ldam"), ("ldam", "balanced_softmax", "logit_adjustment"),
]  # fmt: skip
WEIGHS = [
    (), ("focal",), ("effective_number",), ("inverse_frequency",), ("deferred_off",), ("deferred_on",),
    ("effective_number", "focal"), ("focal", "effective_number"), ("inverse_frequency", "effective_number"),
    ("deferred_on", "inverse_frequency", "focal"), ("deferred_off", "focal"),
]  # fmt: skip


@pytest.mark.parametrize("weighs", WEIGHS, ids="+".join)
@pytest.mark.parametrize("adjusts", ADJUSTS, ids="+".join)
def test_the_formula(adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> None:
    loss = classification(adjusts, weighs)
    for batch, columns in ((1, 1), (1, 4), (6, 1), (6, 2), (6, 4)):
        logits, targets = example(batch, columns, seed=batch * columns)
        found = loss.loss(logits, targets, Outputs(logits=logits, scale=HEAD_SCALE))
        # the parts keep their class vectors in float32
        assert found.item() == pytest.approx(by_hand(logits, targets, adjusts, weighs), rel=2e-6)


@pytest.mark.parametrize(("adjusts", "weighs"), [(ADJUSTS[5], WEIGHS[9]), (ADJUSTS[8], WEIGHS[6]), ((), WEIGHS[1])])
def test_the_gradient_is_that_of_the_formula(adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> None:
    """Central differences of the numbers above; through the weights too, as focal has it."""
    loss = classification(adjusts, weighs)
    logits, targets = example(3, 2)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss.loss(logits, targets, Outputs(logits=logits, scale=HEAD_SCALE)), logits)
    expected, step = torch.zeros_like(gradient), 1e-4
    for i, c in product(range(3), range(5)):
        moved = []
        for sign in (1, -1):
            there = logits.detach().clone()
            there[i, c] += sign * step
            moved.append(by_hand(there, targets, adjusts, weighs))
        expected[i, c] = (moved[0] - moved[1]) / (2 * step)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_plain_is_torchs_cross_entropy() -> None:
    logits, targets = example(8, 1)
    found = classification((), ()).loss(logits, targets, Outputs(logits=logits))
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits, targets.primary))
    weighted = classification((), ("effective_number",)).loss(logits, targets, Outputs(logits=logits))
    expected = nn.functional.cross_entropy(logits, targets.primary, torch.tensor(effective(0.99), dtype=torch.float64))
    torch.testing.assert_close(weighted, expected, rtol=1e-6, atol=0)


def test_a_split_label_is_the_whole_label() -> None:
    """Two columns of one class, half each, or a column that counts nothing, change nothing."""
    logits, targets = example(6, 1)
    loss, outputs = classification(("ldam",), ("effective_number", "focal")), Outputs(logits=logits, scale=HEAD_SCALE)
    whole = loss.loss(logits, targets, outputs)
    half = torch.full((6,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(loss.loss(logits, targets.mix(targets, half), outputs), whole)
    other = Labels(targets.index.flip(0), targets.weight)
    torch.testing.assert_close(loss.loss(logits, targets.mix(other, torch.ones_like(half)), outputs), whole)
    torch.testing.assert_close(loss.loss(logits, other.mix(targets, torch.zeros_like(half)), outputs), whole)


def test_the_order_of_label_columns_does_not_matter() -> None:
    logits, targets = example(6, 4)
    loss, outputs = classification(("ldam",), ("deferred_on",)), Outputs(logits=logits, scale=HEAD_SCALE)
    flipped = Labels(targets.index.flip(1), targets.weight.flip(1))
    torch.testing.assert_close(loss.loss(logits, flipped, outputs), loss.loss(logits, targets, outputs))


def test_each_column_has_its_own_margin() -> None:
    """The trap of soft labels: a margin of the mixed label is not the mix of the margins."""
    logits, targets = example(4, 2, seed=3)
    loss = classification(("ldam",), ())
    outputs = Outputs(logits=logits, scale=HEAD_SCALE)
    apart = torch.zeros((), dtype=torch.float64)
    for column in (0, 1):
        for i in range(4):
            label = Labels(targets.index[i : i + 1, column : column + 1], torch.ones(1, 1, dtype=torch.float64))
            apart += targets.weight[i, column] * loss.loss(logits[i : i + 1], label, outputs) / 4
    torch.testing.assert_close(loss.loss(logits, targets, outputs), apart)


class Squared(Criterion):
    """(1 - p)^2 of the label, to tell it from cross-entropy."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return (1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]) ** 2


def test_another_criterion_takes_the_place_of_cross_entropy_and_nothing_else() -> None:
    """Margins, weights and means around it stay: each row against the formula with its loss exchanged."""
    logits, targets = example(6, 2)
    adjusts, weighs = ("ldam", "logit_adjustment"), ("inverse_frequency", "focal")
    loss = Classification(adjusts=[part(a) for a in adjusts], weighs=[part(w) for w in weighs], criterion=Squared()).double()
    expected = 0.0
    for column in range(2):
        summed, norm = [], []
        for i, row in enumerate(logits.tolist()):
            label = int(targets.index[i, column])
            for name in adjusts:
                row = by_hand_adjust(name, row, label)
            weight, focal = (by_hand_weight(name, row, label) for name in weighs)
            probability = math.exp(log_softmax(row)[label])
            summed.append(float(targets.weight[i, column]) * weight * focal * (1 - probability) ** 2)
            norm.append(weight)
        expected += math.fsum(summed) / math.fsum(norm)
    found = loss.loss(logits, targets, Outputs(logits=logits, scale=HEAD_SCALE))
    assert found.item() == pytest.approx(expected, rel=2e-6)


def test_a_stage_builds_its_classification_of_its_own_parts(tmp_path: Path) -> None:
    recipe = bound(small(assembled({"margin": "ldam", "classifier": "cosine", "decoupling": "crt", "reweighting": "focal"})))
    made = trainer(recipe, tmp_path)
    network = made._network()
    kinds = []
    for index, stage in enumerate(recipe.stages):
        made._enter(network, stage, index)
        run = StageRun(made, network, stage)
        (term,) = run.objective.terms.values()
        assert isinstance(term, Classification)
        kinds.append([[type(p).__name__ for p in parts] for parts in (term.adjusts, term.weighs, [term.criterion])])
    plain = [[], [], ["SoftmaxCrossEntropy"]]
    assert kinds == [[["LDAM"], ["Focal"], ["SoftmaxCrossEntropy"]], plain]


# -------------------------------------------------------------------------------------------------------------- Objective


class Echo(Network):
    """logits: the sums of the image's halves; remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def predict(self, inputs: Tensor) -> Outputs:
        return Outputs(logits=inputs.flatten(1).unflatten(1, (2, -1)).sum(2) * self.weight)

    def forward(self, streams: Streams, need: Any) -> dict[str, Outputs]:
        self.asked.append((tuple(streams), tuple(need)))
        return super().forward(streams, need)


class AddOne(Augment):
    def forward(self, batch: Batch) -> Batch:
        assert batch.inputs.dtype == torch.uint8
        return batch.replace(inputs=batch.inputs + 1)


class Double(Augment):
    def forward(self, batch: Batch) -> Batch:
        assert batch.inputs.dtype == torch.uint8
        return batch.replace(inputs=batch.inputs * 2)


class Halve(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / 2


class Drop(Mixer):
    """Uses a stream up."""

    streams = ("main", "extra")

    def forward(self, streams: Streams) -> dict[str, Batch]:
        assert streams["main"].inputs.dtype == torch.float32
        total = streams["main"].inputs + streams["extra"].inputs
        return {"main": streams["main"].replace(inputs=total)}


class Square(Mixer):
    def forward(self, streams: Streams) -> dict[str, Batch]:
        return {**streams, "main": streams["main"].replace(inputs=streams["main"].inputs ** 2)}


class Sum(Term):
    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        return outputs["main"].logits.sum()


class Constant(Term):
    streams = ()

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return torch.tensor(self.value)


def batch_of(value: int) -> Batch:
    return Batch(torch.full((3, 1, 2, 2), value, dtype=torch.uint8), Labels.hard(torch.tensor([0, 1, 0])), torch.arange(3))


def test_augments_then_normalisation_then_mixers_then_network_then_terms() -> None:
    network = Echo()
    objective = Objective(
        network,
        Halve(),
        {"main": [AddOne(), Double()], "extra": [Double()], "other": []},
        {"drop": Drop(), "square": Square()},
        {"sum": Sum(), "fixed": Constant(7.0)},
        {"sum": 0.5, "fixed": -2.0},
        FP32,
    )
    given = {"main": batch_of(3), "extra": batch_of(5), "other": batch_of(9)}
    values, outputs, streams = objective(given)
    pixel = (((3 + 1) * 2) / 2 + 5 * 2 / 2) ** 2
    assert list(values) == ["sum", "fixed", "total"]
    assert values["sum"].item() == 0.5 * 3 * 4 * pixel and values["total"].item() == values["sum"].item() - 14
    assert streams["main"].inputs.unique().tolist() == [pixel]
    assert list(streams) == ["main"], "the terms see what the mixers left"
    assert network.asked == [(("main",), ("main",))]
    assert outputs["main"].logits is not None and given["main"].inputs.unique().tolist() == [3]
    assert torch.equal(outputs["main"].logits, torch.full((3, 2), 2 * pixel))


def test_the_total_is_the_weighted_sum_and_each_term_is_reported_with_its_weight() -> None:
    terms: dict[str, Term] = {"a": Constant(3.0), "b": Constant(5.0), "c": Constant(100.0)}
    objective = Objective(Echo(), Halve(), {"main": []}, {}, terms, {"a": 1.0, "b": -0.5, "c": 0.0}, FP32)
    values, _, _ = objective({"main": batch_of(1)})
    assert {name: value.item() for name, value in values.items()} == {"a": 3.0, "b": -2.5, "c": 0.0, "total": 0.5}


def test_a_term_may_not_be_called_total(tmp_path: Path) -> None:
    """'total' is the sum's own name; a term of that name would vanish from the report."""
    from ltrun.errors import ConfigError
    from ltrun.recipe.read import recipe_of

    config, choices = assembled({"ensemble": "bbn"})
    config["representation"] = {"terms": {"total": {"part": {"_target_": "ltrun.ensemble.BBN"}}}}
    with pytest.raises(ConfigError, match="total"):
        recipe_of(config, choices)


def test_a_stream_without_augments_uses_those_of_main_and_one_with_its_own_does_not(tmp_path: Path) -> None:
    config, choices = assembled({"augmentation": "cutout"})
    config["representation"] = {
        "streams": {
            "same": {"of": "main"},
            "bare": {"of": "main", "augments": {}},
            "own": {"of": "main", "augments": {"turn": {"_target_": "ltrun.augmentation.Rotation"}}},
        }
    }
    recipe = bound(small((config, choices)))
    made = trainer(recipe, tmp_path)
    run = StageRun(made, made._network(), recipe.stages[0])
    found = {name: [type(part).__name__ for part in chain.children()] for name, chain in run.objective.augments.items()}
    main = ["CropFlip", "Cutout"]
    assert found == {"main": main, "same": main, "bare": [], "own": ["Rotation"]}


# ------------------------------------------------------------------------------------- CMO + mixup + LDAM + DRW + cosine


@pytest.mark.parametrize("epoch", [0, 5, 8, 9])
@pytest.mark.parametrize("order", [["cmo", "mixup"], ["mixup", "cmo"]], ids="-".join)
def test_cmo_mixup_ldam_drw_and_cosine_in_one_step(epoch: int, order: list[str], tmp_path: Path) -> None:
    """Against numpy in float64, given the mixed images and the network's backbone."""
    picked = {"augmentation": order, "margin": "ldam", "reweighting": "drw", "classifier": "cosine"}
    recipe = bound(small(assembled(picked), epochs=10))
    made = trainer(recipe, tmp_path)
    network = made._network()
    run = StageRun(made, network, recipe.stages[0])
    clock = Clock("train", epoch, 10)
    for module in run.parts:
        module.adapt(View(clock, stats(), run.predict, torch.Generator()))
    run.train()
    rows = {"main": torch.arange(0, 64, 2), "tail": torch.arange(69, 37, -1)}
    drawn = {name: next(iter(digits()[0].open([plan]))) for name, plan in rows.items()}
    torch.manual_seed(epoch)
    before = snapshot(network)
    values, outputs, streams = run.objective(drawn)
    batch = streams["main"]

    index, weight = batch.targets.index, batch.targets.weight
    main, tail = drawn["main"].targets.primary, drawn["tail"].targets.primary
    assert list(streams) == ["main"] and torch.equal(batch.rows, rows["main"])
    torch.testing.assert_close(weight.sum(1), torch.ones(32))
    assert (weight >= 0).all() and (weight <= 1).all()
    columns = [sorted(column.tolist()) for column in index.T]
    if order == ["cmo", "mixup"]:  # the pasted images are mixed: both labels of each side, in one order
        assert torch.equal(index[:, 0], main) and torch.equal(index[:, 1], tail)
        assert columns == [sorted(main.tolist()), sorted(tail.tolist())] * 2
        pasted, kept = weight[0, 1] / weight[0, :2].sum(), weight[0, :2].sum()
        shares = [kept * (1 - pasted), kept * pasted, (1 - kept) * (1 - pasted), (1 - kept) * pasted]
    else:  # the tail is pasted onto mixed images
        assert torch.equal(index[:, 0], main) and torch.equal(index[:, 2], tail)
        assert columns[1] == sorted(main.tolist())
        kept, pasted = weight[0, 0] / weight[0, :2].sum(), weight[0, 2]
        shares = [(1 - pasted) * kept, (1 - pasted) * (1 - kept), pasted]
    torch.testing.assert_close(weight, torch.stack(shares).expand(32, -1))

    network.load_state_dict(before)  # batch statistics moved
    twin = copy.deepcopy(network).double().train()
    features = twin.get_submodule("backbone")(batch.inputs.double()).detach().numpy()
    classes = twin.get_parameter("head.weight").detach().numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ (classes / np.linalg.norm(classes, axis=0, keepdims=True))
    counts = COUNTS.numpy().astype(np.float64)
    margins = 0.5 * (counts.min() / counts) ** 0.25
    class_weights = (1 - 0.9999) / (1 - 0.9999**counts)
    class_weights *= len(counts) / class_weights.sum()
    if epoch < 8:
        class_weights[:] = 1
    expected = 0.0
    for column in range(index.shape[1]):
        labels, share = index[:, column].numpy(), weight[:, column].double().numpy()
        logits = 30 * (cosines - np.eye(10)[labels] * margins[labels][:, None])
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(32), labels]
        expected += (share * class_weights[labels] * losses).sum() / class_weights[labels].sum()
    assert values["total"].item() == pytest.approx(expected, rel=1e-4)
    assert values["classification"].item() == values["total"].item()
    torch.testing.assert_close(outputs["main"].logits.double(), torch.from_numpy(30 * cosines), rtol=1e-4, atol=1e-3)


# ------------------------------------------------------------------------------------------------------ every part there is


def every_option() -> list[dict[str, Any]]:
    """One combination for each option of the stage's slots, with what it needs."""
    from tests.support.cases import OPTIONS, STAGE_OPTIONS

    # every margin is one on cosines
    return [
        {slot: option, **({"classifier": "cosine"} if slot == "margin" and option != "none" else {})}
        for slot in STAGE_OPTIONS
        for option in OPTIONS[slot]
    ]


@pytest.mark.contract
@pytest.mark.parametrize("picked", every_option(), ids=lambda picked: "+".join(f"{k}={v}" for k, v in picked.items()))
def test_every_part_of_an_option_keeps_to_the_rules(picked: dict[str, str], tmp_path: Path) -> None:
    """State round trip, copies, in-place time, no plain number that follows the clock: over a run of two epochs."""
    recipe = bound(small(assembled(picked), epochs=10))
    made = trainer(recipe, tmp_path)
    run = StageRun(made, made._network(), recipe.stages[0])
    fresh = copy.deepcopy(run.objective)
    assert differing(buffers(fresh), buffers(run.objective)) == set()

    places = {name: tensor.data_ptr() for name, tensor in buffers(run).items()}
    plain = {name: plain_attributes(module) for name, module in named_parts(run)}
    for epoch in (0, 9):  # before and after every deferred switch
        run.epoch(Clock("train", epoch, 10))
    assert {name: tensor.data_ptr() for name, tensor in buffers(run).items()} == places, "a buffer was replaced, not written"
    assert {name: plain_attributes(module) for name, module in named_parts(run)} == plain, "time lives in buffers"
    assert all(tensor.isfinite().all() for tensor in run.state_dict().values())

    # a checkpoint carries all of it: what is not persistent must be a function of the constructor's arguments
    other = trainer(recipe, tmp_path / "other", seed=1)
    second = StageRun(other, other._network(), recipe.stages[0])
    assert differing(snapshot(second), snapshot(run))
    second.load_state_dict(run.state_dict())
    assert differing(buffers(second), buffers(run)) == set()
    assert differing(dict(second.named_parameters()), dict(run.named_parameters())) == set()
    losses = []
    for each in (run, second):
        each._set_modes()
        torch.manual_seed(7)
        batches = {n: next(iter(digits()[0].open([torch.arange(16)]))) for n in recipe.stages[0].streams}
        losses.append(each.objective(batches)[0]["total"].item())
    assert losses[0] == losses[1]

    # copies are apart
    twin = copy.deepcopy(run.objective)
    shared = {t.data_ptr() for t in tensors(twin) if t.numel()} & {t.data_ptr() for t in tensors(run.objective) if t.numel()}
    assert shared == set()


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """All of them, those that checkpoints leave out too."""
    return dict(module.named_buffers())


def named_parts(module: nn.Module) -> list[tuple[str, Part]]:
    return [(name, each) for name, each in module.named_modules() if isinstance(each, Part)]


def plain_attributes(module: nn.Module) -> dict[str, str]:
    """What a part holds besides tensors and submodules, as text, for comparing over time."""
    hidden = {"_parameters", "_buffers", "_modules", "training"}

    def holds_tensors(value: object) -> bool:
        return isinstance(value, list) and any(isinstance(item, torch.Tensor) for item in value)

    return {name: repr(value) for name, value in vars(module).items() if name not in hidden and not holds_tensors(value)}


@pytest.mark.parametrize(
    "kind", [LDAM, BalancedSoftmax, LogitAdjustment, EffectiveNumber, InverseFrequency], ids=lambda kind: kind.__name__
)
def test_a_part_writes_only_itself(kind: type) -> None:
    """The counts it is given belong to everybody."""
    given = ClassStats(COUNTS.clone())
    made: Adjust | Weigh = kind(stats=given)
    logits = torch.randn(4, 10)
    before = logits.clone()
    made(logits, torch.tensor([0, 1, 2, 9]), Outputs(logits=logits, scale=30.0))
    assert torch.equal(given.counts, COUNTS) and torch.equal(logits, before)


# ----------------------------------------------------------------------------------------------- shapes that would broadcast


class Returns(Part):
    """A part of any kind that answers with a tensor it was given."""

    mean = "batch"
    balances = False

    def __init__(self, result: Any):
        super().__init__()
        self.result = result

    def forward(self, *_: object) -> Any:
        return self.result


B, C = 4, 10


@pytest.mark.parametrize("shape", [(), (1,), (B, 1), (1, B)])
def test_weights_and_losses_that_would_be_repeated_are_refused(shape: tuple[int, ...]) -> None:
    """(B, 1) times (B,) is (B, B): a loss of its own, without a word from torch."""
    outputs, targets = Outputs(logits=torch.randn(B, C)), Labels.hard(torch.arange(B))
    part = Returns(torch.ones(shape))
    for classify in (Classification(weighs=[part]), Classification(criterion=part)):  # type: ignore[list-item, arg-type]
        with pytest.raises(TrainingError, match=r"Returns returns a tensor of shape .*\(4,\) is needed"):
            classify({"main": outputs}, {"main": Batch(torch.zeros(B), targets, torch.arange(B))})


def test_a_part_that_returns_nothing_is_refused() -> None:
    outputs, targets = Outputs(logits=torch.randn(B, C)), Labels.hard(torch.arange(B))
    with pytest.raises(TrainingError, match=r"Returns returns NoneType.* a tensor of shape \(4, 10\)"):
        Classification(adjusts=[Returns(None)]).loss(torch.randn(B, C), targets, outputs)  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(B, 2 * C), (B, 1), (C,)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    outputs, targets = Outputs(logits=torch.randn(B, C)), Labels.hard(torch.arange(B))
    with pytest.raises(TrainingError, match=r"Returns returns a tensor of shape .*\(4, 10\) is needed"):
        classification = Classification(adjusts=[Returns(torch.ones(shape))])  # type: ignore[list-item]
        classification.loss(torch.randn(B, C), targets, outputs)


def test_a_term_is_a_scalar_and_images_stay_bytes(tmp_path: Path) -> None:
    made = trainer(bound(small(assembled({}))), tmp_path)
    run = StageRun(made, made._network(), made.recipe.stages[0])
    batch = next(made.train_set.open([torch.arange(8)]))
    run.objective.terms["more"], run.objective.weights["more"] = Returns(torch.ones(1)), 1.0
    with pytest.raises(TrainingError, match=r"Returns returns a tensor of shape \(1,\)"):
        run.objective({"main": batch})
    of_type(nn.Sequential, run.objective.augments["main"]).append(Returns(batch.replace(inputs=batch.inputs.float())))
    with pytest.raises(TrainingError, match=r"Returns returns images of torch\.float32, where uint8 is needed"):
        run.objective({"main": batch})
