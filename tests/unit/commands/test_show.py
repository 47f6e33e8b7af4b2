"""`ltrun show`: pages of methods, of options, and of runs that are done, failed or unfinished."""

from pathlib import Path

import pytest
import yaml

from ltrun.commands.show import about, main
from ltrun.config import catalogue
from ltrun.config.option import setting
from ltrun.errors import ConfigError, DataError
from tests.support.recorded import record
from tests.support.tree import OPTION_FILES


def page(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_a_method_is_shown_with_its_citation_numbers_options_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "ldam_drw")
    for words in (
        "method=ldam_drw\n  Label-distribution-aware margins, with re-weighting in the last fifth of training.",
        "Cao et al., 2019, arXiv 1906.07413",
        "published on CIFAR100-LT, accuracy in percent: 42.0 (paper), 42.5",
        "  arithmetic checked: matches ldam, drw_and_lr_schedules; shared parts match resnet32\n",
        "  reweighting=drw    Deferred re-weighting",
        "  margin=ldam        Subtracts a margin from the true class",
        "  margin.adjust.max_margin=0.5\n",
        "  reweighting.weigh.then.beta=0.9999\n",
        "train it: ltrun method=ldam_drw dataset=cifar100_lt",
    ):
        assert words in shown


def test_a_method_for_several_labels_names_its_own_data_set_and_metric(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "method=distribution_balanced_focal")
    assert "  published on voc_lt, mAP in percent: 78.94 mAP on VOC-LT" in shown
    assert "train it: ltrun method=distribution_balanced_focal dataset=voc_lt" in shown


def test_a_name_in_two_groups_shows_both_options_and_group_equals_name_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    both = page(capsys, "ldam")
    assert both.startswith("method=ldam\n") and "\n\nmargin=ldam\n" in both
    only = page(capsys, "margin=ldam")
    assert only.startswith("margin=ldam\n") and "used by: method=ldam, method=ldam_drw, method=ride" in only
    assert page(capsys, "method=ldam", "margin=ldam") == both
    assert "ldam " in page(capsys, "margin") and page(capsys, "margin").startswith("margin, one of\n")


def test_keys_of_a_stage_are_shown_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "method=crt")
    assert "resampling=class_balanced in stages.classifier" in shown
    assert "  stages.classifier.optimizer.weight_decay=5.0e-4\n" in shown
    assert "  'stages.classifier.trainable=[\"*head*\"]'\n" in shown


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_option_has_a_page_with_its_keys(path: Path) -> None:
    found = setting(path.parent.name, path.stem)

    def leaves(node: object, steps: tuple[str, ...] = ()) -> list[str]:
        if isinstance(node, dict) and node:
            return [leaf for key, value in node.items() for leaf in leaves(value, (*steps, str(key)))]
        return [".".join(steps)]

    content = yaml.safe_load(path.read_text()) or {}
    content.pop("defaults", None)
    place = () if "# @package _global_" in path.read_text() else (path.parent.name,)
    expected = [leaf for leaf in leaves(content, place) if not leaf.endswith("_target_")] if content else []
    assert [key.path for key in found.keys if key.default != "{}" or key.path in expected] == expected
    assert found.option in catalogue.options(path.parent.name)


def test_a_users_option_is_shown_and_a_broken_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "margin").mkdir()
    (tmp_path / "margin" / "Größe (neu).yaml").write_text("# Mine.\nadjust:\n  _target_: mine.Margin\n  width: 3  # of it\n")
    shown = page(capsys, "Größe (neu)", "--config-dir", str(tmp_path))
    assert shown.startswith("margin=Größe (neu)\n  Mine.\n") and "margin.adjust.width=3  of it" in shown
    (tmp_path / "margin" / "broken.yaml").write_text("adjust: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read as YAML"):
        main(["broken", "--config-dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ldma", "did you mean 'ldam'?"),
        ("margin=ldma", "margin: there is no option 'ldma'; did you mean 'ldam'?"),
        ("margn", "did you mean 'margin'?"),
        ("xyzzy", "ltrun methods lists them"),
        ("nowhere/seed0", "no method, option or run 'nowhere/seed0'"),
    ],
)
def test_an_unknown_name_is_refused_with_a_way_out(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        main([name])
    assert said in str(refusal.value)


def test_a_finished_run_is_shown_with_its_command_scores_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "out (1)" / "digits_lt" / "erm" / "01234567" / "seed0"
    record("erm").save(folder)
    shown = page(capsys, str(folder))
    assert shown.startswith("erm on ") and ", seed 0: done\n" in shown
    for words in (
        "  command  ltrun ",
        "  address  ",
        "plain",
        "All",
        "Many",
        "stages\n",
        f"{folder / 'result.json'}  ",
    ):
        assert words in shown
    assert page(capsys, str(folder / "result.json")) == page(capsys, str(tmp_path)) == shown
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    page(capsys, str(folder))
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before, "showing writes nothing"
    (folder / "result.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        main([str(folder)])


def test_a_run_without_a_result_is_shown_with_its_error_or_last_epoch(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failed, unfinished = tmp_path / "a" / "seed0", tmp_path / "b" / "seed0"
    failed.mkdir(parents=True)
    (failed / "error.log").write_text("the loss is not finite\nTraceback\n")
    assert f"{failed}: failed\n  the loss is not finite\n" in page(capsys, str(failed))
    unfinished.mkdir(parents=True)
    (unfinished / ".lock").touch()
    assert "unfinished, or still running" in page(capsys, str(unfinished))
    (unfinished / "metrics.jsonl").write_text('{"stage": "train", "epoch": 3, "epochs": 9, "loss": 0.5}\n{"stage": "tr')
    assert "last epoch stage train, epoch 3, epochs 9" in page(capsys, str(unfinished))
    with pytest.raises(ConfigError, match="has 2 runs: show one of them"):
        main([str(tmp_path)])
    (tmp_path / "c").mkdir()
    with pytest.raises(ConfigError, match="is not a run"):
        main([str(tmp_path / "c")])


def test_help_is_about_the_methods_and_options_of_the_command_line(tmp_path: Path) -> None:
    assert about(["method=ldam", "--help"]) == ["method=ldam"]
    assert about(["-m", "method=erm,ldam", "posthoc=[ncm, tau_norm]", "seed=1", "-h"]) == [
        "method=erm", "method=ldam", "posthoc=ncm", "posthoc=tau_norm",
    ]  # fmt: skip
    assert about(["seed=1", "method=nosuch", "--help"]) == []
    for words in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert about([*words, "method=ldam", "--help"]) == ["method=ldam", f"--config-dir={tmp_path}"]


def test_a_method_on_a_data_set_is_shown_with_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "method=sade", "dataset=inat18").partition("method=sade dataset=inat18\n")[2]
    for words in (
        "  the published recipe. Steps of the rate with Nesterov momentum over 100 epochs; no rotation.\n  Zhang et al., 2022",
        "72.9, ResNet-50, 100 epochs; README of SADE",
        "slots: augmentation=none optimizer=sade\n",
        "  batch_size=512\n",
        "  optimizer.lr=0.2\n",
        "  ensemble.terms.classification.part.tau=1.0\n",
        "on/method/sade@inat18.yaml, ",
        "train it: ltrun method=sade dataset=inat18\n",
    ):
        assert words in shown
    assert page(capsys, "sade", "inat18").endswith(shown)
    assert "published recipes on further data sets: dataset=imagenet_lt, dataset=inat18, dataset=places_lt" in page(
        capsys, "sade"
    )


def test_a_method_without_a_recipe_on_a_data_set_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "method=bbn", "dataset=inat18", "dataset=digits_lt", "dataset=cifar100_lt")
    assert "no published recipe: trains the preset's slots with the data set's own optimizer and schedule" in shown
    assert "  optimizer.weight_decay=1.0e-4\n" in shown, "the numbers that plain training has there"
    assert "no published recipe: trains the preset's slots with its numbers for CIFAR100-LT" in shown
    assert "\nmethod=bbn dataset=cifar100_lt\n" not in shown, "the preset itself is the recipe"
    assert "further data sets" not in shown
