"""Jobs composed from command lines: addresses, labels of rows, headlines, removed keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import open_dict

from ltrun.config.compose import job_of
from ltrun.config.job import Job
from ltrun.errors import ConfigError
from ltrun.recipe.read import recipe_of
from ltrun.results.address import fingerprint
from tests.support.cases import assembled


def job(*overrides: str) -> Job:
    """Returns the job that the command line composes."""
    GlobalHydra.instance().clear()
    words = ["dataset=digits_lt", *overrides]
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        cfg = compose("config", words, return_hydra_config=True)
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        return job_of(cfg, choices, words)


def test_different_runs_have_different_addresses() -> None:
    """Mixers and augments apply in their order, so another order is another run and must not be skipped as done."""
    pairs: list[tuple[dict[str, str | Sequence[str]], dict[str, str | Sequence[str]]]] = [
        ({"augmentation": ["cmo", "mixup"]}, {"augmentation": ["mixup", "cmo"]}),
        ({"augmentation": ["cutout", "rotation"]}, {"augmentation": ["rotation", "cutout"]}),
        ({"reweighting": "drw"}, {"reweighting": "class_balanced"}),
        ({"decoupling": "crt"}, {"decoupling": "lws"}),
    ]
    for one, other in pairs:
        assert fingerprint(assembled(one)[0]) != fingerprint(assembled(other)[0]), f"{one} and {other} share an address"
    assert fingerprint(assembled({"augmentation": ["cmo"]})[0]) == fingerprint(assembled({"augmentation": "cmo"})[0])


def test_options_that_repeat_the_preset_change_nothing() -> None:
    preset, written = job("method=ldam_drw"), job("method=ldam_drw", "margin=ldam", "classifier=cosine", "seed=3")
    assert preset.changes == written.changes == {} and preset.fingerprint == written.fingerprint
    assert written.seed == 3 and written.folder == preset.folder.parent / "seed3"
    assert preset.folder.parts[-4:-1] == ("digits_lt", "ldam_drw", preset.fingerprint)


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        (("method=ldam_drw", "reweighting=none"), {"reweighting": "none"}),
        (("method=ldam", "margin.adjust.max_margin=0.3", "epochs=3"), {"margin.adjust.max_margin": 0.3, "epochs": 3}),
        (("augmentation=[cmo,mixup]",), {"augmentation": "[cmo,mixup]"}),
        (("method=crt", "stages.classifier.fraction=0.5"), {"stages.classifier.fraction": 0.5}),
        (("method=crt", "plan=[train]"), {"plan": ["train"]}),
        (("~dataset.augments",), {"dataset.augments": None}),
        (("dataset.augments=null",), {"dataset.augments": None}),
        (("~dataset.augments.crop_flip.flip",), {"dataset.augments.crop_flip.flip": None}),
        (("+stages.train.optimizer.lr=0.5", "optimizer.lr=0.3"), {"stages.train.optimizer.lr": 0.5, "optimizer.lr": 0.3}),
        (("+stages.train.norm=hold",), {"norm": "hold"}),
        (("method=crt", "decoupling=none"), {"decoupling": "none"}),
        (("method=crt", "+reweighting@stages.classifier.reweighting=inverse_frequency"),
         {"stages.classifier.reweighting.weigh._target_": "ltrun.reweighting.InverseFrequency",
          "stages.classifier.reweighting.weigh.exponent": 1.0}),
        (("margin=ldam", "classifier=cosine", "margin.adjust.max_margin=0.3"),
         {"margin": "ldam", "classifier": "cosine", "margin.adjust.max_margin": 0.3}),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_row_is_labelled_by_its_changes_to_the_preset(overrides: tuple[str, ...], changes: dict[str, Any]) -> None:
    assert job(*overrides).changes == changes


def test_another_image_folder_is_another_run_but_another_folder_of_cifar_is_not(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = [
        job("dataset=image_folder", f"dataset.root={root}") for root in ("photos", "./photos", tmp_path / "photos", "other")
    ]
    assert len({each.fingerprint for each in jobs[:3]}) == 1 < len({each.fingerprint for each in jobs})
    assert jobs[0].config["dataset"]["root"] == str(tmp_path / "photos")
    assert all(each.changes == {} for each in jobs), "the folder is no change to the preset"
    cifar = [job("dataset=cifar100_lt", f"dataset.root={root}", "dataset.download=false") for root in ("photos", "other")]
    assert cifar[0].fingerprint == cifar[1].fingerprint and cifar[0].changes == {}
    assert cifar[0].config["dataset"]["root"] == "photos"


def test_only_the_file_of_a_data_set_declares_inert_arguments() -> None:
    for override in ("+dataset.inert=[imbalance]", "++dataset.inert=[]"):
        with pytest.raises(ConfigError, match=r"dataset\.inert: only a data set's own file"):
            job(override)


def test_the_headline_is_the_presets_predictor_if_the_run_has_it() -> None:
    assert job("method=tau_norm").headline == "tau_norm" and job("method=tau_norm", "posthoc=none").headline == "plain"
    assert job("method=tau_norm", "posthoc=tau_norm_sweep").headline == "plain"
    both = job("method=tau_norm", "posthoc=[tau_norm_sweep,tau_norm]")
    assert both.headline == "tau_norm" and "tau_norm_0.25" in recipe_of(both.config, both.choices).posthoc


@pytest.mark.parametrize(
    "override",
    ["~posthoc", "~plan", "~seed", "~evaluation.every", "evaluation=null", "runtime=null", "outputs=null", "outputs=3"],
)
def test_a_removed_key_is_named_in_a_refusal_or_does_no_harm(override: str) -> None:
    try:
        made = job(override)
    except ConfigError as error:
        assert override.lstrip("~").partition("=")[0].partition(".")[0] in str(error)
        return
    recipe_of(made.config, made.choices, made.settings.plugins)


def test_a_word_for_a_slot_of_a_stage_is_refused() -> None:
    """The right way to choose the option is +margin@stages.train.margin=ldam."""
    made = job("+stages.train.margin=ldam")
    with pytest.raises(ConfigError, match=r"stages\.train\.margin"):
        recipe_of(made.config, made.choices, made.settings.plugins)


@pytest.mark.parametrize("override", ["posthoc=[ncm,ncm]", "posthoc=[ncm,tau_norm,ncm]", "augmentation=[cutout,mixup,cutout]"])
def test_an_option_that_is_named_twice_is_refused(override: str) -> None:
    """The second option would stand in the label of the row and do nothing."""
    with pytest.raises(ConfigError, match=r"(ncm|cutout) stands twice in \["):
        job(override)


@pytest.mark.parametrize(
    ("options", "place"), [("[isda,metasaug]", "adjust"), ("[randaugment,randaugment_lt]", "augments.randaugment")]
)
def test_two_augmentations_that_fill_one_place_differently_are_refused(options: str, place: str) -> None:
    """Hydra would merge them, and the second would silently win."""
    with pytest.raises(ConfigError, match=rf"augmentation: \w+ and \w+ both set '{place}'"):
        job(f"augmentation={options}")


def test_two_augmentations_may_share_what_they_fill_alike() -> None:
    config = job("augmentation=[autoaugment,cutout]").config
    assert list(config["augmentation"]["augments"]) == ["autoaugment", "cutout"]
