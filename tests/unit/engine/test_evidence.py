"""Evidence of a split for post-hoc parts and evaluation: every row in order, the declared fields, never a test label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ltrun.augmentation import CropFlip
from ltrun.classifier import Linear
from ltrun.engine.evidence import Shown, SplitEvidence, fit
from ltrun.engine.predictors import Predictors, evaluate
from ltrun.network import Experts, Plain, ResNetCIFAR
from ltrun.parts import Augment, Evidence, Network, PostHoc
from ltrun.posthoc import NCM, LogitAdjustment
from ltrun.results import mapped
from ltrun.types import Batch, Outputs
from tests.support.cases import context, digits, normaliser, stats

ALL = ("features", "logits", "experts", "head")


def network(kind: str = "plain") -> Network:
    torch.manual_seed(0)
    backbone = ResNetCIFAR(8, 4, in_channels=1)

    def make_head(features: int) -> Linear:
        return Linear(features=features, num_classes=10)

    if kind == "experts":
        return Experts(width=1.0, backbone=backbone, make_head=make_head)
    return Plain(backbone=backbone, make_head=make_head)


def evidence(size: int = 16, hidden: bool = False, kind: str = "plain", augments: tuple[Augment, ...] = ()) -> SplitEvidence:
    run = context(evaluation_batch=size)
    return SplitEvidence(network(kind), run, digits()[1], ALL, augments, hidden)


@pytest.mark.parametrize("kind", ["plain", "experts"])
def test_outputs_cover_the_whole_split_in_order_at_any_batch_size(kind: str) -> None:
    store = digits()[1]
    whole = network(kind).eval().predict(normaliser()(store.images))
    for size in (1, 7, 30, 100):
        found = evidence(size, kind=kind).outputs()
        for name in ("features", "logits", "experts"):
            expected, value = getattr(whole, name), getattr(found, name)
            assert (expected is None) == (value is None)
            if value is not None:
                torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
                assert not value.requires_grad and value.device.type == "cpu"
    assert torch.equal(evidence().labels, store.targets.labels)


@pytest.mark.parametrize("kind", ["plain", "experts"])
@pytest.mark.parametrize("augment", [True, False])
def test_large_outputs_lie_in_files_with_the_same_bits(
    kind: str, augment: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crop = (CropFlip(2, flip=False),)
    expected = evidence(7, kind=kind, augments=crop).outputs(augment)
    monkeypatch.setattr(mapped, "LARGE", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = evidence(7, kind=kind, augments=crop).outputs(augment)
    assert str(tmp_path) in Path("/proc/self/maps").read_text() and not list(tmp_path.iterdir())
    for name in ALL:
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        assert one is None or (torch.equal(one, other) and one.stride() == other.stride())


def test_of_a_large_split_only_the_fields_that_parts_ask_for_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evidence().outputs()
    monkeypatch.setattr(mapped, "LARGE", 0)
    split = evidence()
    for fields in (("features",), ("features",), ("logits",), ("features", "logits")):
        found = Shown(split, fields).outputs()
        for name in ALL:
            one = getattr(found, name)
            assert one is None if name not in fields else torch.equal(one, getattr(whole, name))
        held = split.clean
        assert Shown(split, fields).outputs() is not found and split.clean is held, "the split does not pass again"
        assert (held.logits is None) == (split.held == {"features"})


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_network_as_it_was(training: bool) -> None:
    split = evidence()
    split.network.train(training)
    before = {name: tensor.clone() for name, tensor in split.network.state_dict().items()}
    state = torch.get_rng_state()
    split.outputs()
    assert torch.equal(torch.get_rng_state(), state), "evaluation must not change later random draws"
    assert all(torch.equal(tensor, before[name]) for name, tensor in split.network.state_dict().items())
    assert all(module.training is training for module in split.network.modules())


def test_augmented_outputs_are_drawn_anew_for_each_epoch_and_repeat_for_the_same_epoch() -> None:
    split = evidence(augments=(CropFlip(2, flip=False),))
    draws = [split.outputs(augment=True, epoch=epoch).need("logits") for epoch in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], split.outputs().need("logits"))
    assert torch.equal(split.outputs().need("logits"), evidence().outputs().need("logits")), (
        "outputs without augmentation stay the same"
    )


def test_augmented_views_do_not_depend_on_the_evaluation_batch() -> None:
    crop = (CropFlip(2, flip=False),)
    draws = [evidence(size, augments=crop).outputs(augment=True).need("logits") for size in (4, 30)]
    assert torch.equal(*draws)


def test_test_labels_are_out_of_reach() -> None:
    with pytest.raises(PermissionError, match="never test labels"):
        _ = evidence(hidden=True).labels


class Curious(PostHoc):
    sees = frozenset({"train"})

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        self.shown = sorted(splits)
        self.whole = splits["train"].outputs()
        self.batches = list(splits["train"].batches())

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits")


def test_a_post_hoc_part_sees_only_the_splits_and_fields_that_it_declares() -> None:
    everything = {"train": evidence(), "val": evidence(), "test_inputs": evidence(hidden=True)}
    part = Curious()
    fit(part, everything)
    assert part.shown == ["train"]
    for outputs in (part.whole, *part.batches):
        assert outputs.features is None and outputs.head is None, "the part reads logits alone"
    assert torch.equal(torch.cat([outputs.need("logits") for outputs in part.batches]), part.whole.need("logits"))


class Undeclared(Curious):
    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("features")


def test_a_part_that_reads_an_undeclared_field_loses_its_row() -> None:
    warned: list[str] = []
    predictors = Predictors(network(), context(warn=warned.append), {"undeclared": Undeclared()}, ())
    found, scores = predictors.measure()
    assert list(found) == list(scores) == ["plain"]
    assert "'features' in its `reads`" in predictors.lost["undeclared"] and len(warned) == 1


class Failing(Curious):
    """Raises in `fit`, on its first rows or on later rows; or returns scores of another shape, or nan."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.calls = how, 0

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        if self.how == "fit":
            raise ValueError("no solution")

    def forward(self, outputs: Outputs) -> Tensor:
        self.calls += 1
        logits = outputs.need("logits")
        if self.how == "first" or (self.how == "later" and self.calls > 2):
            raise ZeroDivisionError("nothing\nto divide by")
        return {"shape": logits[:, 1:], "nan": logits * torch.nan}.get(self.how, logits)


@pytest.mark.parametrize("how", ["fit", "first", "later", "shape", "nan"])
def test_a_part_that_fails_after_training_loses_only_its_own_row(how: str) -> None:
    warned: list[str] = []
    parts = {"before": NCM(num_classes=10), "failing": Failing(how), "after": LogitAdjustment(stats=stats())}
    predictors = Predictors(network(), context(warn=warned.append, evaluation_batch=4), parts, ())
    predictors.fit()
    found, scores = predictors.measure()
    assert list(found) == list(scores) == ["plain", "before", "after"]
    alone = Predictors(network(), context(evaluation_batch=4), {name: parts[name] for name in ("before", "after")}, ())
    alone.fit()
    assert alone.measure()[0] == found
    (sentence,) = warned
    assert sentence.startswith("post-hoc row 'failing' is left out: ") and predictors.lost["failing"] in sentence
    assert "\n" not in sentence and ("line " in sentence) == (how in ("fit", "first", "later"))


def test_evaluation_never_joins_the_outputs_of_a_whole_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are joined only for post-hoc parts that ask for a whole split."""
    monkeypatch.setattr(SplitEvidence, "_whole", None)
    assert 0 <= evaluate(network(), context(evaluation_batch=4))["test"]["accuracy"] <= 1


class Seen(Augment):
    """Records the names of augmentations in the order of their calls."""

    asked: ClassVar[list[str]] = []

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, batch: Batch) -> Batch:
        Seen.asked.append(self.name)
        return batch


class Viewing(PostHoc):
    sees = frozenset({"test_inputs"})

    def __init__(self, views: Augment | None = None):
        super().__init__()
        self.views = views

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        splits["test_inputs"].outputs(augment=True, epoch=0)

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits")


@pytest.mark.parametrize(("views", "asked"), [(None, ["crop", "rotate"]), (Seen("jitter"), ["crop", "jitter"])])
def test_views_use_the_augmentations_of_the_main_stream_or_of_the_data_set_and_then_of_the_part(
    views: Augment | None, asked: list[str]
) -> None:
    Seen.asked = []
    crop, rotate = Seen("crop"), Seen("rotate")
    Predictors(network(), context(), {"viewing": Viewing(views)}, [crop, rotate], [crop]).fit()
    assert Seen.asked == asked
