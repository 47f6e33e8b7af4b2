"""Rehearsal of a run: a part that does not fit is named before training, and the rehearsal changes no result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.config.job import Job
from ltrun.engine.rehearsal import check, refuse_without_validation, rehearse
from ltrun.engine.trainer import Trainer
from ltrun.errors import ConfigError, LtrunError, TrainingError
from ltrun.parts import Adjust, Augment, Backbone, Head, Mixer, PostHoc, Sampler, Term, Weigh
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, Streams
from tests.support.cases import Composed, changed, composed, differing, small, snapshot, trainer
from tests.support.training import HERE, mine, node


def job(composition: Composed, plugins: tuple[str, ...] = ()) -> Job:
    config, choices = changed(composition, plugins=list(plugins))
    return Job(config, choices, {}, choices["method"], "digits_lt", "01234567", Path("/nowhere"), "plain")


def rehearsed(folder: Path, *overrides: str, **changes: Any) -> Trainer:
    made = trainer(mine(small(changed(composed(*overrides), **changes))), folder)
    rehearse(made)
    return made


# ------------------------------------------------------------------------------------------------------ before data are opened


@pytest.mark.parametrize(
    ("overrides", "changes", "said"),
    [
        (
            ("method=gcl",),
            {"stages__classifier__margin__adjust__scale": 0},
            "stages.classifier.margin.adjust.scale must be above 0",
        ),
        (
            ("decoupling=disalign",),
            {"stages__classifier__reweighting__weigh__exponent": -1.0},
            "stages.classifier.reweighting.weigh.exponent must not be negative",
        ),
        (("method=crt",), {"stages__classifier__trainable": ["nothing*"]}, "stages.classifier.trainable: no parameter"),
        (("method=sade",), {"ensemble__network__num_experts": 1}, "num_experts must lie between 2 and 6"),
        (("posthoc=tau_norm",), {"posthoc__predictors__tau_norm__tau": -1.0}, "posthoc.predictors.tau_norm.tau"),
        (("margin=pml", "classifier=cosine"), {"margin__adjust__hidden": 10**9}, "margin.adjust.hidden must be at least 1 and"),
        ((), {"network__width": 10**14}, "does not fit into memory; lower network.depth=8 or network.width=100000000000000"),
        ((), {"network__width": 1e30}, "network: ltrun.network.ResNetCIFAR does not fit into memory; lower"),
        (("classifier=causal",), {"classifier__head__num_heads": 7}, "num_heads must divide"),
        ((), {"selection": "best_val", "dataset__root": "/no/such"}, "selection=best_val needs a validation split"),
        (("posthoc=uno_ic_flattened",), {}, "needs a validation split; set dataset.validation_per_class above 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_refused_before_data_are_opened(
    overrides: tuple[str, ...], changes: dict[str, Any], said: str
) -> None:
    data = () if "dataset__root" not in changes else ("dataset=cifar100_lt",)
    with pytest.raises(ConfigError) as caught:
        check(job(changed(composed(*data, *overrides), **changes)))
    assert said in str(caught.value)


def test_a_list_with_one_value_per_class_passes_before_the_number_of_classes_is_known() -> None:
    """The data set may have three classes or a hundred; a negative share suits no data set."""
    for target in ([1.0, 2.0, 3.0], [1.0] * 100):
        check(job(changed(composed("posthoc=pc_softmax"), posthoc__predictors__pc_softmax__target=target)))
    with pytest.raises(ConfigError, match=r"target must hold"):
        check(job(changed(composed("posthoc=pc_softmax"), posthoc__predictors__pc_softmax__target=[-1.0, 2.0])))


def test_photographs_without_validation_are_told_their_own_key() -> None:
    made = composed("dataset=voc_lt", "posthoc=thresholds", "network=resnet32")
    with pytest.raises(ConfigError, match=r"thresholds needs a validation split; set dataset\.validation, such as 0\.2"):
        refuse_without_validation(job(made).settings, mine(made))


class Particular(Adjust):
    """A part of a plugin that needs a class of its own data set, and refuses a negative strength."""

    def __init__(self, strength: float = 1.0, *, stats: ClassStats):
        super().__init__()
        if strength < 0:
            raise ConfigError(f"strength must not be negative, got {strength}")
        if "cat" not in stats.names:
            raise ConfigError("no class 'cat' in this data set")


def test_a_plugins_part_may_refuse_the_stand_in_data_but_not_its_own_values() -> None:
    check(job(changed(composed(), margin={"adjust": node(Particular)}), HERE))
    with pytest.raises(ConfigError, match=r"margin.adjust.strength must not be negative"):
        check(job(changed(composed(), margin={"adjust": node(Particular, strength=-1.0)}), HERE))


def test_a_check_draws_no_random_number() -> None:
    state = torch.get_rng_state()
    check(job(composed("method=crt")))
    assert torch.equal(state, torch.get_rng_state())


# -------------------------------------------------------------------------------------------------------- on the run's own data


@pytest.mark.parametrize("method", ["erm", "paco", "sade", "bbn", "meta_weight_net", "balms", "drs", "uncertainty", "ncm"])
def test_a_rehearsal_changes_no_bit_of_the_result(method: str, tmp_path: Path) -> None:
    recipe = mine(small(composed(f"method={method}")))
    plain = snapshot(trainer(recipe, tmp_path / "plain").run())
    made = trainer(recipe, tmp_path / "rehearsed")
    state = torch.get_rng_state()
    rehearse(made)
    assert torch.equal(state, torch.get_rng_state())
    assert not list(tmp_path.glob("rehearsed/*"))
    assert differing(plain, snapshot(made.run())) == set()


class Wrong(Backbone):
    """A backbone with the fault `how`, such as features of another length, feature maps, or no tensor."""

    def __init__(self, how: str = "", *, in_channels: int):
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.ones(in_channels, 4))
        if how != "unsaid":
            self.features = {"length": 5, "none": 0, "true": True}.get(how, 4)
        if how == "counts":
            self.steps = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)

    def forward(self, images: Tensor) -> Any:
        if self.how == "raises":
            raise RuntimeError("Kernel size can't be greater than actual input size")
        assert self.how != "asserts"
        maps = images.mean(dim=(2, 3)) @ self.weight
        changes = {"maps": maps[:, :, None], "nothing": None, "fewer": maps[1:], "double": maps.double(), "mask": maps > 0}
        return (changes | {"elsewhere": maps.to("meta")}).get(self.how, maps)


class WrongHead(Head):
    def __init__(self, *, features: int, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features, num_classes - 1))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight


class Draws(Sampler):
    def __init__(self, how: str):
        super().__init__()
        self.how = how

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Any:
        rows = torch.arange(20)
        changes = {"beyond": rows + 60, "negative": rows - 1, "floats": rows / 2, "pairs": rows[:, None], "list": rows.tolist()}
        changes |= {"meta": rows.to("meta"), "sparse": rows.to_sparse()}
        return changes[self.how]


class Loses(Augment):
    def forward(self, batch: Batch) -> Any:
        return batch.replace(inputs=batch.inputs[:0])


class LosesMixed(Mixer):
    def forward(self, streams: Streams) -> dict[str, Batch]:
        return {"main": streams["main"].replace(inputs=streams["main"].inputs[1:])}


class WrongWeights(Weigh):
    def __init__(self, how: str = ""):
        super().__init__()
        self.how = how

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return {"complex": logits[:, 0] + 0j, "elsewhere": logits[:, 0].to("meta")}.get(self.how, logits)


class WholeLogits(Adjust):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits.long()


class Late(Term):
    """Raises in every call."""

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        raise TrainingError("Late has no answer")


def network(how: str) -> dict[str, Any]:
    return node(Wrong, how=how)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": network("length")}, "Wrong returns"),
        ({"network": network("maps")}, "Wrong returns"),
        ({"network": network("nothing")}, "Wrong returns NoneType"),
        ({"network": network("unsaid")}, "Wrong must set `features`"),
        ({"network": network("none")}, "Wrong must set `features`"),
        ({"network": network("true")}, "Wrong must set `features`"),
        ({"network": network("fewer")}, "Wrong returns ("),
        ({"network": network("double")}, "Wrong returns torch.float64 on cpu, where torch.float32"),
        ({"network": network("mask")}, "Wrong returns torch.bool on cpu, where torch.float32"),
        ({"network": network("elsewhere")}, "Wrong returns torch.float32 on meta, where torch.float32 on cpu"),
        ({"network": network("raises")}, "Wrong cannot train on inputs of shape"),
        ({"classifier": {"head": node(WrongHead)}}, "WrongHead returns"),
        *(
            ({"resampling": {"sampler": node(Draws, how=how)}}, "Draws, draws")
            for how in ("beyond", "negative", "floats", "pairs", "meta", "sparse")
        ),
        ({"resampling": {"sampler": node(Draws, how="list")}}, "Draws, draws list"),
        ({"augmentation": {"augments": {"mine": node(Loses)}}}, "Loses returns 0 inputs"),
        ({"augmentation": {"mixers": {"mine": node(LosesMixed)}}}, "LosesMixed returns"),
        ({"reweighting": {"weigh": node(WrongWeights)}}, "WrongWeights returns"),
        ({"reweighting": {"weigh": node(WrongWeights, how="complex")}}, "WrongWeights returns torch.complex64"),
        ({"reweighting": {"weigh": node(WrongWeights, how="elsewhere")}}, "WrongWeights returns torch.float32 on meta"),
        ({"logit_adjustment": {"adjust": node(WholeLogits)}}, "WholeLogits returns torch.int64, where torch.float32"),
        ({"plan": ["one", "two"], "stages": {"one": {}, "two": {"margin": {"terms": {"x": {"part": node(Late)}}}}}}, "Late"),
    ],
    ids=str,
)
def test_a_part_with_a_wrong_result_is_named_before_training(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    composition = changed(composed(), **changes) if "network" in changes else changed(small(composed()), **changes)
    made = trainer(mine(composition), tmp_path)
    with pytest.raises(LtrunError) as caught:
        rehearse(made)
    assert said in str(caught.value) and "\n" not in str(caught.value)


class Breaks(Sampler):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        raise KeyError("season")


def test_an_unexpected_error_of_a_part_leaves_the_rehearsal_unchanged(tmp_path: Path) -> None:
    """An error must not be its own cause: code that follows the chain of causes would never end."""
    with pytest.raises(KeyError) as caught:
        rehearse(trainer(mine(changed(small(composed()), resampling={"sampler": node(Breaks)})), tmp_path))
    assert caught.value.__cause__ is None


def test_an_error_inside_the_network_is_not_blamed_on_the_inputs(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        rehearse(trainer(mine(changed(composed(), network=network("asserts"))), tmp_path))
    rehearse(trainer(mine(changed(composed(), network=network("counts"))), tmp_path))


class Scores(PostHoc):
    sees = frozenset({"train"})

    def __init__(self, how: str):
        super().__init__()
        self.how = how

    def forward(self, outputs: Outputs) -> Any:
        if self.how == "unnamed":
            return outputs.features @ outputs.need("logits").new_ones(16, 10)  # type: ignore[operator]
        if self.how == "untrained":
            raise ValueError("these rows are all alike")
        logits = outputs.need("logits")
        if self.how in ("mask", "sparse"):
            return logits > 0 if self.how == "mask" else logits.to_sparse()
        return {"shape": logits[:, 1:], "need": lambda: outputs.need("head")}[self.how]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shape", "Scores returns"),
        ("mask", "Scores returns torch.bool"),
        ("sparse", "Scores returns"),
        ("unnamed", "Scores reads 'features'"),
    ],
)
def test_a_post_hoc_part_that_is_wrong_for_any_outputs_is_named_before_training(how: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=said):
        rehearsed(tmp_path, posthoc={"predictors": {"mine": node(Scores, how=how)}})
    rehearsed(tmp_path, posthoc={"predictors": {"mine": node(Scores, how="untrained")}})


def test_an_update_of_a_later_stage_that_matches_no_parameter_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"update.virtual must match"):
        rehearsed(tmp_path, "method=balms", stages__classifier__resampling__update__virtual=["no*"])


def test_a_post_hoc_part_that_does_not_fit_the_classifier_is_refused_before_training(tmp_path: Path) -> None:
    overrides = ("classifier=causal", "posthoc=tde")
    rehearsed(tmp_path, *overrides)
    with pytest.raises(ConfigError, match="num_heads=4"):
        rehearsed(tmp_path, *overrides, posthoc__predictors__tde__num_heads=4)
