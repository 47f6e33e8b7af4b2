"""The options and keys that docs/decisions.md gives for another choice exist and compose; so do the counts of the README."""

import re
from pathlib import Path

import pytest

from ltrun.config.catalogue import options
from tests.support.cases import bound, composed
from tests.support.documents import REPOSITORY, Page

WORD = r"\+?[a-z_]+(\.[a-z_]+)*=[\w.*\[\]]+"


def overrides(page: Path) -> list[str]:
    """Code spans of the page that are words of a command line, each KEY=VALUE."""
    spans = (token.content for _, token in Page(page).spans() if token.type == "code_inline")
    return [span for span in spans if re.fullmatch(rf"{WORD}( {WORD})*", span)]


@pytest.mark.parametrize("words", overrides(REPOSITORY / "docs" / "decisions.md"))
def test_the_words_that_choose_an_alternative_compose(words: str) -> None:
    given = ["dataset.validation_per_class=1"] * ("best_val" in words)  # the split that it selects on
    assert bound(composed(*words.split(), *given)).stages


def test_the_readme_counts_presets_and_those_that_match_reference_values() -> None:
    presets = options("method")
    matching = [preset for preset in presets if preset.checked.startswith("matches")]
    readme = (REPOSITORY / "README.md").read_text()
    assert f"{len(presets)} are built in" in readme
    assert f"For {len(matching)} presets" in readme
