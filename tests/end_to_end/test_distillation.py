"""Distillation on the command line: teachers trained on demand, shared by students, what the student's stages train."""

import json
from pathlib import Path

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from tests.support.cases import bound, composed
from tests.support.commands import Run
from tests.support.recipes import refused

SHORT = ("dataset=digits_lt", "network=resnet8", "epochs=1")
TEACHERS = {  # preset -> the choices that tell its teachers apart
    "dive": [{"logit_adjustment": "balanced_softmax", "transfer": "none"}],
    "lfme": [{"resampling": "shot_group", "transfer": "none"}] * 3,
    "ride_distillation": [{"ensemble": "ride", "transfer": "none"}],
    "ssd": [{"representation": "labelled_contrast", "decoupling": "ssd", "transfer": "none"}],
    "class_balanced_distillation": [{"resampling": "instance", "classifier": "learnt_cosine", "transfer": "none"}] * 3,
    "xerm": [{"transfer": "none"}],
    "ltrl": [],
}


def records(root: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(root.rglob("result.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("method", TEACHERS)
def test_a_preset_trains_its_teachers_and_then_the_student(method: str, ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(f"method={method}", *SHORT, f"outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    choices = [record["choices"] for record in records(tmp_path) if record["method"] != method]
    assert len(choices) == len(TEACHERS[method])
    for wanted, found in zip(TEACHERS[method], choices, strict=True):
        assert isinstance(found, dict) and wanted.items() <= found.items()
    if method == "class_balanced_distillation":  # its teachers have seeds of their own, so students share them
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.pth")}
        done = ltrun(f"method={method}", *SHORT, "seed=1", f"outputs={tmp_path}")
        assert done.returncode == 0, done.stderr
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        assert len(records(tmp_path)) == 5


def test_the_teacher_of_ssd_ends_with_a_classifier_on_class_aware_samples() -> None:
    first, second = bound(composed("representation=labelled_contrast", "decoupling=ssd", "dataset=cifar100_lt")).stages
    assert first.terms.keys() == {"contrast"} and second.terms == {}
    assert second.trainable == ["*head*"] and not second.reset_head and second.network is not None
    sampler = second.streams["main"].sampler
    assert sampler is not None and sampler.arguments["images_per_turn"] == 2
    assert (first.epochs, second.epochs) == (200, 7)


@pytest.mark.parametrize("dataset", ["imagenet_lt", "inat18", "places_lt"])
def test_the_teachers_of_cbd_have_the_students_rates_on_large_data_sets(dataset: str) -> None:
    with hydra_ready():
        job = compose_job(["method=class_balanced_distillation", f"dataset={dataset}"])
    for teacher in job.teachers.values():
        for key in ("lr", "weight_decay", "rates"):
            assert teacher.config["optimizer"][key] == job.config["optimizer"][key], key
        assert teacher.config["batch_size"] == job.config["batch_size"]


def test_presets_have_the_settings_of_their_sources() -> None:
    """CBD: batches of 512 at 0.2, weight decay 5e-4, a cosine of 100 epochs, for the teachers too. LFME: CurricSampler, which
    draws four images of each class in turn; its experts draw images evenly."""
    config, _ = composed("method=class_balanced_distillation", "dataset=cifar100_lt")
    teachers = [composed(*teacher["words"], "dataset=cifar100_lt")[0] for teacher in config["transfer"]["teachers"].values()]
    assert len(teachers) == 3
    for made in (config, *teachers):
        optimizer = made["optimizer"]
        assert (optimizer["lr"] * 512 / made["batch_size"], optimizer["weight_decay"]) == (0.2, 5e-4)
        assert (made["epochs"], made["schedule"]["_target_"]) == (100, "ltrun.schedule.Cosine")
    student = bound(composed("method=lfme", "dataset=cifar100_lt")).stages[0].streams["main"].sampler
    assert student is not None and student.target.__name__ == "ClassAware" and student.arguments["images_per_turn"] == 4


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("method=dive", "ensemble=ride"), ("transfer=dive", "ensemble=ride")),
        (("method=lfme", "ensemble=ride"), ("transfer=lfme", "ensemble=ride")),
        (("method=ssd", "ensemble=ride"), ("transfer=ssd", "ensemble=ride")),
        (("method=xerm", "margin=ldam", "classifier=cosine"), ("transfer=xerm", "margin=ldam")),
        (("method=ltrl", "ensemble=ride"), ("transfer=ltrl", "ensemble=ride")),
        (("method=ltrl", "augmentation=mixup"), ("transfer=ltrl", "augmentation=mixup")),
        (("method=class_balanced_distillation", "margin=ldam"), ("margin=ldam", "classifier=learnt_cosine")),
    ],
)
def test_a_combination_that_means_nothing_is_refused_by_both_slots(words: tuple[str, ...], named: tuple[str, ...]) -> None:
    sentence = refused(composed(*words))
    assert all(name in sentence for name in named), sentence


@pytest.mark.parametrize(
    "words",
    [
        ("method=dive", "augmentation=mixup"),
        ("method=lfme", "margin=ldam", "classifier=cosine"),
        ("method=lfme", "augmentation=mixup"),
        ("method=ssd", "margin=ldam", "classifier=cosine"),
        ("method=xerm", "augmentation=mixup"),
        ("method=sade", "transfer=ltrl_experts"),
        ("method=ride", "transfer=ltrl_experts"),
        ("method=class_balanced_distillation", "augmentation=mixup"),
    ],
)
def test_further_combinations_bind(words: tuple[str, ...]) -> None:
    assert bound(composed(*words)).stages
