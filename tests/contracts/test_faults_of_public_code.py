"""Known faults of public code, each excluded here by a test. Tests elsewhere exclude these:

deferred weights by `epoch // 160`    test_focal_and_deferred.py, test_stage.py (deferred ...), golden test_schedules.py
learning rates at fixed epochs        schedule/test_schedules.py: milestones scale with the length of the stage
the sign of logit adjustment          test_predictors.py (cancel), golden test_losses.py: training adds the log prior
logs lost on resuming                 test_resume.py: a killed run has the history of an unstopped one
the best epoch on test                test_trainer.py, test_sweep.py: selection is last, or on validation
a group or class without test images  test_single_label.py: None, never 0 or nan, and accuracy is no mean of group means
whole models pickled                  test_checkpoint.py: loads with weights_only
a subset drawn with replacement       test_profiles.py: disjoint rows, and the ordinals and MD5 of the literature
another network by the same name      test_network_values.py: parameter counts and values of ResNet-32
if/elif on names of methods           test_style_of_parts.py: the trainer names no method
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import ltrun
from ltrun.config.job import Job
from ltrun.engine.progress import Bar
from ltrun.engine.run import run
from ltrun.metrics import BOTH
from ltrun.parts import Augment, Term
from ltrun.reweighting.label_aware_smoothing import smoothed_cross_entropy
from ltrun.types import Batch, Clock, Outputs, Streams
from tests.support.cases import METHODS, OPTIONS, assembled, bound, changed, composed, digits, small, trainer

HERE = ("tests",)


class Seen(Term):
    """Records the rows of each step."""

    accepts = BOTH
    rows: ClassVar[list[Tensor]] = []

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        assert outputs["main"].logits is not None
        return 0 * outputs["main"].logits.sum()

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        Seen.rows.append(streams["main"].rows.clone())


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_steps_train_on_the_rows_of_the_sampler(option: str, tmp_path: Path) -> None:
    """LDAM-DRW, IB-Loss, VS-Loss: their "Resample" is plain training. Here the steps see the rows drawn, in that order."""
    Seen.rows = []
    seen = {"weight": 1.0, "part": {"_target_": f"{__name__}.Seen"}}
    composition = changed(small(assembled({"resampling": option}), epochs=10), representation__terms={"seen": seen})
    made = trainer(bound(composition, HERE), tmp_path)
    going = made.begin(made.network(), made.recipe.stages[0], 0)
    sampler, drawn = going.samplers["main"], []
    draw: Any = sampler.draw

    def remember(*arguments: Any) -> Tensor:
        drawn.append(draw(*arguments))
        return drawn[-1]

    sampler.draw = remember  # type: ignore[assignment]
    going.epoch(Clock("train", 9, 10))
    rows = drawn[0] if drawn[0].dim() == 1 else drawn[0][:, 0]  # beside them, the class for which each is drawn
    assert torch.equal(torch.cat(Seen.rows), rows)
    as_they_come = torch.equal(rows.sort().values, torch.arange(len(made.context.splits.train)))
    assert as_they_come == (option == "instance"), "not what plain training draws"


@pytest.mark.parametrize("nesterov", [False, True])
def test_weight_decay_is_applied_once(nesterov: bool, tmp_path: Path) -> None:
    """logit-adj-pytorch: three times the decay it states. Here the loss has none, and one step takes lr * decay, once."""
    decay, ends, losses = 0.5, [], []
    for value in (0.0, decay):
        composition = changed(
            small(composed(), epochs=1), optimizer__weight_decay=value, optimizer__nesterov=nesterov, schedule__warmup=0.0
        )
        rows: list[dict[str, Any]] = []
        made = trainer(bound(composition), tmp_path / str(value), report=rows.append, batch_size=len(digits()[0]))
        begun = {name: p.detach().clone() for name, p in made.network().named_parameters()}
        ended = made.run()
        ends.append({name: p.detach() for name, p in ended.named_parameters()})
        losses.append((rows[0]["loss"], rows[0]["losses"]))
        rate = rows[0]["learning_rate"]
    assert losses[0] == losses[1]
    once = rate * decay * (1.9 if nesterov else 1)  # Nesterov's first step is 1 + momentum long
    for name, start in begun.items():
        torch.testing.assert_close(ends[0][name] - ends[1][name], once * start, rtol=1e-3, atol=1e-6)


class Blank(Augment):
    def forward(self, batch: Batch) -> Batch:
        return batch.replace(inputs=torch.zeros_like(batch.inputs))


def test_evaluation_does_not_apply_the_augmentation_of_training(tmp_path: Path) -> None:
    """SADE's shifted CIFAR test sets are cropped, flipped and rotated. Here training sees black images and testing does not."""
    composition = small(composed("posthoc=[logit_adjustment,ncm]", "dataset.validation_per_class=2"), epochs=1)
    config, choices = changed(
        composition, dataset__augments={"blank": {"_target_": f"{__name__}.Blank"}}, runtime__device="cpu", plugins=list(HERE)
    )
    run(Job(config, choices, {}, "erm", "digits_lt", "01234567", tmp_path, "plain"), Bar())
    scores = np.load(tmp_path / "predictions.npz")
    for name in ("plain", "logit_adjustment", "ncm"):
        found = scores[f"test_scores_{name}"]
        assert len(np.unique(found, axis=0)) > len(found) // 2, f"{name}: as if all images were black"


def test_recipes_of_ride_and_ldam_do_not_mix() -> None:
    """RIDE's descendants rotate images, decay 5e-4 and use Nesterov and cosines; LDAM's do not. Tables mix the two."""
    ride, ldam = {"ride", "sade"}, {"erm", "ce_drw", "ldam_drw", "balanced_softmax", "logit_adjustment"}
    assert ride | ldam <= set(METHODS)
    for method in sorted(ride | ldam):
        config, choices = composed(f"method={method}", "dataset=cifar100_lt")
        first = bound((config, choices)).stages[0]
        augments = first.streams["main"].augments
        assert augments is not None
        found = ("rotation" in augments, config["optimizer"]["weight_decay"], config["optimizer"]["nesterov"])
        assert found == ((True, 5e-4, True) if method in ride else (False, 2e-4, False)), method
        cosine = first.head.target.__name__ == "Cosine"
        assert cosine == (method in ride | {"ldam_drw"}), method


SECOND_STAGE = {
    "crt": "Power", "lws": "Power", "gcl": "Power", "balms": "MetaSampler", "disalign": "Instance",
    "crt_class_aware": "ClassAware", "lws_class_aware": "ClassAware", "ssd": "ClassAware", "ftl": "Power", "ofa": "Instance",
    "m2m": "Power", "mislas": "Power", "cam": "Power", "metasaug": "Instance", "risda": "Instance",
}  # fmt: skip


@pytest.mark.parametrize("option", SECOND_STAGE)
def test_a_second_stage_has_the_published_sampler(option: str) -> None:
    """BALMS issue 11."""
    slots = {"decoupling": option} | ({"classifier": "cosine"} if option == "gcl" else {})
    first, second = bound(assembled(slots)).stages
    samplers = [stage.streams["main"].sampler for stage in (first, second)]
    assert samplers[0] is not None and samplers[0].target.__name__ == "Instance"
    assert samplers[1] is not None and samplers[1].target.__name__ == SECOND_STAGE[option]
    assert samplers[1].arguments.get("q", 0.0) == 0.0, "class-balanced"


def test_commands_of_the_documents_exist() -> None:
    """SADE's README calls scripts by other names than they have."""
    commands = [
        line
        for name in ("README.md", "CONTRIBUTING.md", "docs/methods.md")
        for line in (Path(__file__).parents[2] / name).read_text().splitlines()
        if re.match(r"(\$ )?ltrun ", line) and "--config-dir" not in line
    ]
    assert len(commands) > 10
    for line in commands:
        for group, value in re.findall(r"\b([a-z_]+)=([\w,\[\]]+)", line.partition("#")[0]):
            for option in re.findall(r"\w+", value) if group in OPTIONS and value != "glob" else ():
                assert option in OPTIONS[group], f"there is no {group}={option}: {line}"


def test_no_module_asks_a_question() -> None:
    """BagofTricks-LT asks whether to overwrite. Nothing here calls input(), a prompt or a pager."""
    for path in Path(ltrun.__file__).parent.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {ast.unparse(call.func).rpartition(".")[2] for call in calls}
        assert not names & {"input", "confirm", "prompt", "getpass", "pager"}, path


def test_labels_are_smoothed_as_in_the_code_and_not_as_in_the_formula() -> None:
    """MiSLAS issue 4: the two differ by whether the true class has a share of the smoothing. Its numbers come from the code."""
    logits, labels, smoothing = torch.randn(3, 5, dtype=torch.float64), torch.tensor([0, 1, 2]), torch.tensor([0.4, 0.2, 0.1])
    log_p = logits.log_softmax(1)
    code, formula = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for i, (y, s) in enumerate(zip(labels.tolist(), smoothing.double().tolist(), strict=True)):
        for c in range(5):
            code[i] -= log_p[i, c] * (s / 5 + (1 - s) * (c == y))
            formula[i] -= log_p[i, c] * (1 - s if c == y else s / 4)
    found = smoothed_cross_entropy(logits, labels, smoothing.double())
    torch.testing.assert_close(found, code)
    assert not torch.allclose(found, formula)
