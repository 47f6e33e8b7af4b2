"""The library of options: folders of users, companions of an option, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from ltrun.contracts.library import Choice, Library
from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.types import Outputs
from tests.support.cases import choice
from tests.support.files import write_files
from tests.support.mypackage import option, target


class Counted(Adjust):
    """Leaves the logits as they are."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits


@pytest.mark.parametrize(
    ("word", "beside"),
    [
        ("margin=ldam", {"classifier": "cosine"}),
        ("posthoc=tde", {"classifier": "causal"}),
        ("posthoc=sade_aggregation", {"ensemble": "sade"}),
        ("decoupling=gcl", {"classifier": "cosine"}),
        ("logit_adjustment=cdt", {}),
        ("classifier=lws", {}),
        ("method=ldam_drw", {}),
    ],
)
def test_an_option_is_composed_with_its_companions(word: str, beside: dict[str, str]) -> None:
    group, _, name = word.partition("=")
    chosen = choice(group, name)
    assert chosen.picked == {group: name, **beside} and chosen.word == word
    assert chosen.composition[1][group] == name and chosen.recipe.stages


def test_an_option_without_a_fitting_companion_gets_the_refusal_of_the_option_alone(tmp_path: Path) -> None:
    made = option(tmp_path, "logit_adjustment", {"weigh": target(Counted)})
    with pytest.raises(ConfigError, match=r"^logit_adjustment.weigh: .*Counted is not a Weigh"):
        _ = made.recipe


def test_a_class_of_a_package_outside_the_plugins_is_refused(tmp_path: Path) -> None:
    option(tmp_path, "logit_adjustment", {"adjust": target(Counted)})
    with pytest.raises(ConfigError, match="is not allowed"):
        _ = Choice(Library([tmp_path]), "logit_adjustment", "mine").recipe


def test_a_library_does_not_find_the_options_of_another(tmp_path: Path) -> None:
    made = option(tmp_path, "logit_adjustment", {"adjust": target(Counted)})
    assert made.recipe.stages[0].adjusts[0].target is Counted
    assert "mine" in made.library.options["logit_adjustment"]
    plain = Library()
    assert "mine" not in plain.options["logit_adjustment"]
    with pytest.raises(ConfigError, match="there is no option 'mine'"):
        plain.composed("logit_adjustment=mine")
    assert plain.composed("logit_adjustment=cdt")[1]["logit_adjustment"] == "cdt"


def test_a_file_that_configures_hydra_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"margin/mine.yaml": "# @package _global_\nhydra:\n  callbacks: {}\n"})
    with pytest.raises(ConfigError, match="configures Hydra itself"):
        Library([tmp_path]).composed("margin=mine")
