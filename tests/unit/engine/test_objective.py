"""Objective of a step, from stored images to the total loss: augmentations, normalisation, mixers, network, terms."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltrun.data import Normalise
from ltrun.engine.objective import Objective
from ltrun.loss import Classification
from ltrun.parts import Augment, Mixer, Network, Prepare, Term
from ltrun.types import Batch, Clock, Labels, Outputs, Streams
from tests.support.cases import COUNTS, FP32, assembled, bound, digits, small, snapshot, trainer

# -------------------------------------------------------------------------------------------------------------- Objective


class Echo(Network):
    """logits: the sums of the image's halves. Records the streams and fields of each call."""

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


class Halve(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs / 2


class Drop(Mixer):
    """Adds the stream 'extra' to the main stream, and returns the main stream alone."""

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
    assert list(streams) == ["main"], "terms see the streams that the mixers return"
    assert network.asked == [(("main",), ("main",))]
    assert outputs["main"].logits is not None and given["main"].inputs.unique().tolist() == [3]
    assert torch.equal(outputs["main"].logits, torch.full((3, 2), 2 * pixel))


class Offer(Double):
    """Offers itself and Halve as one operation, which adds 100 to be told from the two."""

    def fused_with(self, prepare: Prepare) -> Callable[[Batch], Batch] | None:
        return (lambda batch: batch.replace(inputs=batch.inputs.float() + 100)) if isinstance(prepare, Halve) else None


def test_the_only_augmentation_of_a_stream_and_the_preparation_may_be_one_operation() -> None:
    augments: dict[str, list[Augment]] = {"main": [Offer()], "two": [AddOne(), Offer()], "none": [], "other": [Double()]}

    def prepared(fuse: bool, prepare: Prepare) -> dict[str, float]:
        objective = Objective(Echo(), prepare, augments, {}, {"sum": Sum()}, {"sum": 1.0}, FP32, fuse=fuse)
        return {
            name: batch.inputs.unique().item() for name, batch in objective(dict.fromkeys(augments, batch_of(4)))[2].items()
        }

    apart = {"main": 4.0, "two": 5.0, "none": 2.0, "other": 4.0}
    assert prepared(False, Halve()) == apart
    assert prepared(True, Halve()) == apart | {"main": 104.0}
    assert prepared(True, Normalise([0.0], [1 / 255], in_channels=1, channels_last=False))["main"] == 8.0


def test_the_total_is_the_weighted_sum_and_each_term_is_reported_with_its_weight() -> None:
    terms: dict[str, Term] = {"a": Constant(3.0), "b": Constant(5.0), "c": Constant(100.0)}
    objective = Objective(Echo(), Halve(), {"main": []}, {}, terms, {"a": 1.0, "b": -0.5, "c": 0.0}, FP32)
    values, _, _ = objective({"main": batch_of(1)})
    assert {name: value.item() for name, value in values.items()} == {"a": 3.0, "b": -2.5, "c": 0.0, "total": 0.5}


def test_a_single_term_of_weight_1_is_the_total_without_further_kernels() -> None:
    seen: list[Tensor] = []
    term = Sum()
    term.register_forward_hook(lambda module, inputs, value: seen.append(value))
    values, _, _ = Objective(Echo(), Halve(), {"main": []}, {}, {"sum": term}, {"sum": 1.0}, FP32)({"main": batch_of(1)})
    assert values["total"] is values["sum"] is seen[0]


def test_a_term_may_not_be_called_total(tmp_path: Path) -> None:
    """'total' names the sum of the terms; a term of that name would vanish from the report."""
    from ltrun.errors import ConfigError
    from ltrun.recipe.read import recipe_of

    config, choices = assembled({"ensemble": "bbn"})
    config["representation"] = {"terms": {"total": {"part": {"_target_": "ltrun.ensemble.BBN"}}}}
    with pytest.raises(ConfigError, match="total"):
        recipe_of(config, choices)


def test_a_stream_uses_its_own_augmentations_or_else_the_main_streams(tmp_path: Path) -> None:
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
    run = made.begin(made.network(), recipe.stages[0], 0)
    found = {name: [type(part).__name__ for part in chain.children()] for name, chain in run.objective.augments.items()}
    main = ["CropFlip", "Cutout"]
    assert found == {"main": main, "same": main, "bare": [], "own": ["Rotation"]}


def test_a_stage_builds_its_classification_loss_from_its_own_parts(tmp_path: Path) -> None:
    recipe = bound(small(assembled({"margin": "ldam", "classifier": "cosine", "decoupling": "crt", "reweighting": "focal"})))
    made = trainer(recipe, tmp_path)
    network = made.network()
    kinds = []
    for index, stage in enumerate(recipe.stages):
        run = made.begin(network, stage, index)
        (term,) = run.objective.terms.values()
        assert isinstance(term, Classification)
        kinds.append([[type(p).__name__ for p in parts] for parts in (term.adjusts, term.weighs, [term.criterion])])
    plain = [[], [], ["CrossEntropy"]]
    assert kinds == [[["LDAM"], ["Focal"], ["CrossEntropy"]], plain]


# ------------------------------------------------------------------------------------- CMO + mixup + LDAM + DRW + cosine


@pytest.mark.parametrize("epoch", [0, 5, 8, 9])
@pytest.mark.parametrize("order", [["cmo", "mixup"], ["mixup", "cmo"]], ids="-".join)
def test_cmo_mixup_ldam_drw_and_cosine_in_one_step(epoch: int, order: list[str], tmp_path: Path) -> None:
    """Compares with numpy in float64, given the mixed images and the network's backbone."""
    picked = {"augmentation": order, "margin": "ldam", "reweighting": "drw", "classifier": "cosine"}
    recipe = bound(small(assembled(picked), epochs=10))
    made = trainer(recipe, tmp_path)
    network = made.network()
    run = made.begin(network, recipe.stages[0], 0)
    clock = Clock("train", epoch, 10)
    for module in run.parts:
        module.adapt(run.view(clock, torch.Generator(), module))
    run.train()
    rows = {"main": torch.arange(0, 64, 2), "tail": torch.arange(69, 37, -1)}
    drawn = {name: next(iter(digits()[0].open([plan]))) for name, plan in rows.items()}
    torch.manual_seed(epoch)
    before = snapshot(network)
    values, outputs, streams = run.objective(drawn)
    batch = streams["main"]

    index, weight = batch.targets.index, batch.targets.weight
    main, tail = drawn["main"].targets.labels, drawn["tail"].targets.labels
    assert list(streams) == ["main"] and torch.equal(batch.rows, rows["main"])
    torch.testing.assert_close(weight.sum(1), torch.ones(32))
    assert (weight >= 0).all() and (weight <= 1).all()
    columns = [sorted(column.tolist()) for column in index.T]
    if order == ["cmo", "mixup"]:  # pasted images are mixed: each side has two labels, in the same order
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

    network.load_state_dict(before)  # the step moved the batch statistics
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
