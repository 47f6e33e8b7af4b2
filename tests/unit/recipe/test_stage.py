"""Stages of a recipe: inherited slots, plain stages, lengths, order."""

from __future__ import annotations

import copy

import pytest

from tests.support.cases import CONF, OPTIONS, assembled, bound, changed, composed
from tests.support.recipes import targets

LADEN = {
    "margin": "ldam", "reweighting": "drw", "logit_adjustment": "logit_adjustment", "classifier": "cosine",
    "augmentation": ["cmo", "mixup"],
}  # fmt: skip  # a second stage must not inherit these options


@pytest.mark.parametrize("decoupling", ["crt", "lws"])
def test_the_second_stage_is_plain_and_balanced_whatever_the_first_stage_is(decoupling: str) -> None:
    joint, second = bound(assembled({**LADEN, "decoupling": decoupling})).stages
    assert targets(joint, "adjusts") == ["LDAM", "LogitAdjustment"] and list(joint.mixers) == ["cmo", "mixup"]
    assert second.adjusts == [] and second.weighs == [] and second.mixers == {} and second.terms == {}
    assert list(second.streams) == ["main"]
    sampler = second.streams["main"].sampler
    assert sampler is not None and sampler.target.__name__ == "Power" and sampler.arguments["q"] == 0.0
    assert second.streams["main"].augments == joint.streams["main"].augments, "the augments of the data set remain"
    assert second.optimizer.arguments["weight_decay"] == 5e-4 and joint.optimizer.arguments["weight_decay"] == 2e-4
    assert second.norm == "track" and joint.norm == "follow" and joint.trainable is None
    assert (second.reset_head, second.wrap is not None) == (decoupling == "crt", decoupling == "lws")
    assert joint.wrap is None and not joint.reset_head


def test_a_plain_stage_keeps_the_network_and_the_slots_in_keep() -> None:
    picked = {"augmentation": ["cutout", "mixup"], "reweighting": "focal", "ensemble": "ride"}
    joint, second = bound(assembled({**picked, "decoupling": "balms"})).stages
    assert second.streams["main"].augments == joint.streams["main"].augments and second.mixers == joint.mixers
    assert targets(joint, "weighs") == ["Focal"] and targets(second, "weighs") == ["RateRatio"]
    assert targets(second, "terms") == ["RIDE"] and second.network.target is joint.network.target
    assert second.head.target is joint.head.target


def test_a_plain_stage_draws_every_image_unless_it_keeps_the_resampling() -> None:
    plain = changed(assembled({"resampling": "drs", "decoupling": "crt"}), stages__classifier={"base": "plain"})
    _, second = bound(plain).stages
    sampler = second.streams["main"].sampler
    assert sampler is not None and sampler.target.__name__ == "Instance"
    assert sampler.origin == "resampling=instance in stage 'classifier' of decoupling=crt"
    kept = changed(plain, stages__classifier={"base": "plain", "keep": ["resampling"]})
    first, second = bound(kept).stages
    assert second.streams["main"].sampler == first.streams["main"].sampler


def test_every_plan_says_base_plain_and_no_option_none() -> None:
    """A slot that ltrun gets later needs no line in any plan, and enters no plain stage unnoticed.

    The second stages of M2m, MetaSAug, CAM-based sampling and unequal training train all layers on, with the run's own loss.
    """
    for option in OPTIONS["decoupling"]:
        text = (CONF / "decoupling" / f"{option}.yaml").read_text()
        assert ": none" not in text
        assert ("base: plain" in text) == (option not in ("none", "m2m", "metasaug", "cam", "unequal_training"))


def test_a_stage_inherits_everything_that_it_does_not_set() -> None:
    config = changed(
        assembled({"decoupling": "crt", "logit_adjustment": "balanced_softmax"}),
        stages__classifier={"trainable": ["*head*"], "fraction": 0.5},
    )
    joint, second = bound(config).stages
    assert targets(second, "adjusts") == ["BalancedSoftmax"] and second.streams == joint.streams
    assert second.optimizer.arguments == joint.optimizer.arguments and second.schedule.arguments == joint.schedule.arguments
    assert not second.reset_head and second.norm == "follow" and second.epochs == 20


@pytest.mark.parametrize(
    ("epochs", "fraction", "expected"),
    [(200, 0.15, 30), (40, 0.15, 6), (3, 0.15, 1), (1, 0.15, 1), (100, 0.29, 29), (10, 1.0, 10), (10, 2, 20), (7, 0.5, 3)],
)
def test_a_stage_has_its_epochs_or_its_fraction_of_the_runs_epochs(epochs: int, fraction: float, expected: int) -> None:
    config = changed(composed("method=crt"), epochs=epochs, stages__classifier__fraction=fraction)
    assert [stage.epochs for stage in bound(config).stages] == [epochs, expected]
    fixed = changed(config, stages__classifier__epochs=4)
    assert [stage.epochs for stage in bound(fixed).stages] == [epochs, 4]


def test_the_plan_gives_the_order_of_the_stages() -> None:
    config = changed(composed("method=crt"), plan=["classifier", "train"])
    assert [stage.name for stage in bound(config).stages] == ["classifier", "train"]
    assert [stage.name for stage in bound(changed(config, plan=["train"])).stages] == ["train"]


def test_binding_opens_no_data_and_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltrun.config.bind import Bound

    monkeypatch.setattr(Bound, "build", lambda *_: pytest.fail("a part was built"))
    config = composed("dataset=cifar100_lt", "dataset.root=/no/such/place")
    bound(config)


def test_binding_leaves_the_configuration_unchanged() -> None:
    for composition in (composed("method=crt"), composed("method=sade"), assembled(LADEN)):
        before = copy.deepcopy(composition)
        bound(composition)
        assert composition == before
