"""A package outside ltrun with one part, an option and a preset, and the sentence of a broken contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltrun.contracts.library import Choice, Library
from ltrun.errors import LtrunError
from tests.support.files import write_files
from tests.support.tree import PACKAGE

PART, INIT = "mypackage/cdt.py", "mypackage/__init__.py"
OPTION, PRESET = "options/logit_adjustment/temperatures.yaml", "options/method/temperatures.yaml"
FILES = {
    INIT: '"""Class-dependent temperatures."""\n\nfrom mypackage.cdt import CDT\n\n__all__ = ["CDT"]\n',
    PART: (PACKAGE / "logit_adjustment" / "cdt.py").read_text(),
    OPTION: """# Divides the logits of the loss by a temperature that grows with rarity.
# Ye et al., 2020, arXiv 2001.01385
adjust:
  _target_: mypackage.CDT
  gamma: 0.2
""",
    PRESET: """# @package _global_
# name: CDT
# Cross-entropy of logits divided by class-dependent temperatures.
# Ye et al., 2020, arXiv 2001.01385
# command: ltrun method=temperatures dataset=cifar100_lt plugins=[mypackage] --config-dir options
# expected: 39.6 (Bag of Tricks, best epoch on test)
defaults:
  - override /logit_adjustment: temperatures
""",
}


def option(folder: Path, group: str, node: Mapping[str, Any], name: str = "mine") -> Choice:
    """Writes an option, whose _target_ may be a class of the tests."""
    write_files(folder, {f"{group}/{name}.yaml": yaml.safe_dump(dict(node))})
    return Choice(Library([folder], ["tests"]), group, name)


def target(part: type, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{part.__module__}.{part.__name__}", **arguments}


def sentence_of(check: Callable[..., object], *arguments: Any) -> str:
    """Returns the sentence of a broken contract; fails if the check passes."""
    with pytest.raises(LtrunError) as caught:
        check(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence
