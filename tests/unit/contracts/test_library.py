"""Options that contracts compose: folders of a user's own, what an option needs beside it, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from ltrun.contracts.library import Choice, Library
from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.types import Outputs
from tests.support.cases import choice
from tests.support.mypackage import option, target, write


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
def test_an_option_is_composed_with_what_it_needs(word: str, beside: dict[str, str]) -> None:
    group, _, name = word.partition("=")
    chosen = choice(group, name)
    assert chosen.picked == {group: name, **beside} and chosen.word == word
    assert chosen.composition[1][group] == name and chosen.recipe.stages


def test_an_option_that_fits_nothing_is_refused_as_it_is_alone(tmp_path: Path) -> None:
    made = option(tmp_path, "logit_adjustment", {"weigh": target(Counted)})
    with pytest.raises(ConfigError, match=r"^logit_adjustment.weigh: .*Counted is not a Weigh"):
        _ = made.recipe


def test_classes_of_a_package_that_is_not_named_are_refused(tmp_path: Path) -> None:
    option(tmp_path, "logit_adjustment", {"adjust": target(Counted)})
    with pytest.raises(ConfigError, match="is not allowed"):
        _ = Choice(Library([tmp_path]), "logit_adjustment", "mine").recipe


def test_options_of_a_folder_are_those_of_its_library_alone(tmp_path: Path) -> None:
    made = option(tmp_path, "logit_adjustment", {"adjust": target(Counted)})
    assert made.recipe.stages[0].adjusts[0].target is Counted
    assert "mine" in made.library.options["logit_adjustment"]
    plain = Library()
    assert "mine" not in plain.options["logit_adjustment"]
    with pytest.raises(ConfigError, match="there is no option 'mine'"):
        plain.composed("logit_adjustment=mine")
    assert plain.composed("logit_adjustment=cdt")[1]["logit_adjustment"] == "cdt"


def test_a_file_that_configures_hydra_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"margin/mine.yaml": "# @package _global_\nhydra:\n  callbacks: {}\n"})
    with pytest.raises(ConfigError, match="configures Hydra itself"):
        Library([tmp_path]).composed("margin=mine")
