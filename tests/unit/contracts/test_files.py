"""Contracts of option files: for each a file that breaks it, and the sentence that reports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ltrun.contracts import files
from ltrun.contracts.files import File
from ltrun.contracts.library import Library
from tests.support.files import write_files
from tests.support.mypackage import FILES, OPTION, PRESET, sentence_of

ADJUST = FILES[OPTION].replace("mypackage.CDT", "ltrun.logit_adjustment.CDT")
GLOBAL = "# @package _global_\n"
Check = Callable[[File], None]


def file(folder: Path, text: str, name: str = "logit_adjustment/temperatures.yaml") -> File:
    write_files(folder, {"logit_adjustment/temperatures.yaml": ADJUST, name: text})
    return File(Library([folder], ["tests"]), folder / name)


def test_all_contracts_of_an_option_and_a_preset_hold(tmp_path: Path) -> None:
    both = [file(tmp_path, ADJUST), file(tmp_path, FILES[PRESET], "method/temperatures.yaml")]
    assert [len(list(files.of_a_file(each))) for each in both] == [4, 5]
    for contract in (contract for each in both for contract in files.of_a_file(each)):
        contract.check()


def test_a_number_without_a_point_is_read_as_hydra_reads_it(tmp_path: Path) -> None:
    """YAML 1.1 takes 2e-1 for text."""
    each = file(tmp_path, ADJUST.replace("gamma: 0.2", "gamma: 2e-1"))
    files.targets_bind(each)
    assert each.content["adjust"]["gamma"] == 0.2


def test_keys_of_the_header_are_neither_its_sentence_nor_its_citation(tmp_path: Path) -> None:
    keys = "# name: CDT\n# command: ltrun method=x\n# expected: nothing published\n"
    each = file(tmp_path, keys + ADJUST)
    files.begins_with_a_sentence(each)
    files.cites(each)


@pytest.mark.parametrize(
    ("old", "new", "check", "said"),
    [
        ("# Divides", "# divides", files.begins_with_a_sentence, "begin with a comment of one sentence"),
        ("rarity.", "rarity", files.begins_with_a_sentence, "has no capital letter or no full stop"),
        ("grows", "grows" + " and grows" * 12, files.begins_with_a_sentence, "in less than 128 characters; this one has 191"),
        ("# Ye et al., 2020, arXiv 2001.01385\n", "", files.cites, "has no second line of comment; cite the paper"),
        (", 2020, arXiv 2001.01385", "", files.cites, "'Ye et al.' has neither a year nor begins with 'no ...:'"),
        (", 2020", "", files.cites, "'Ye et al., arXiv 2001.01385' has neither a year nor begins with 'no ...:'"),
        ("2001.01385", "20010.1385", files.cites, "'20010.1385' is not an arXiv number, such as"),
        ("2001.01385", "2001.1385", files.cites, "'2001.1385' is not an arXiv number"),
        (" 2001.01385", ":2013.01385", files.cites, "'2013.01385' is not an arXiv number"),
        ("# Divides", GLOBAL + "# Divides", files.writes_below_its_group, "its own group; remove the line '# @package"),
        ("adjust:", "defaults: []\nadjust:", files.writes_below_its_group, "cannot choose other options; move 'defaults' to"),
        ("gamma", "gama", files.targets_bind, ": logit_adjustment.adjust.gama: ltrun.logit_adjustment.CDT takes no 'gama'"),
        ("gamma: 0.2", "gama: ${x}", files.targets_bind, "CDT takes no 'gama'; did you mean 'gamma'?"),
        ("gamma: 0.2", "gamma: much", files.targets_bind, "logit_adjustment.adjust.gamma: expected"),
        ("ltrun.logit_adjustment.CDT", "ltrun.logit_adjustment.CTD", files.targets_bind, "has no 'CTD'; did you mean 'CDT'?"),
        (".CDT", ".cdt.CDT", files.targets_bind, "._target_: write ltrun.logit_adjustment.CDT, the name that"),
        ("ltrun.logit_adjustment.CDT", f"{__name__}.Unlisted", files.targets_bind, "has no 'Unlisted' in __all__; add it"),
        ("ltrun.logit_adjustment.CDT", "os.system", files.targets_bind, "'os.system' is not allowed"),
    ],
)  # fmt: skip
def test_a_broken_rule_of_an_option_file_is_reported_with_its_path(
    tmp_path: Path, old: str, new: str, check: Check, said: str
) -> None:
    assert old in ADJUST
    each = file(tmp_path, ADJUST.replace(old, new))
    sentence = sentence_of(check, each)
    assert said in sentence and str(each.path) in sentence


class Unlisted:
    """This module has no __all__."""

    def __init__(self, gamma: float):
        pass


def test_a_file_without_a_header_gets_an_example(tmp_path: Path) -> None:
    each = file(tmp_path, "adjust:\n  _target_: ltrun.logit_adjustment.CDT\n")
    assert "as in '# Divides the logits by a temperature" in sentence_of(files.begins_with_a_sentence, each)


COMMAND = "# command: ltrun method=temperatures dataset=cifar100_lt plugins=[mypackage] --config-dir options\n"


@pytest.mark.parametrize(
    ("old", "new", "check", "said"),
    [
        (GLOBAL, "", files.writes_below_its_group, "the first line of a method is '# @package _global_'; add it"),
        ("defaults:", "epochs: 3\ndefaults:", files.writes_below_its_group, "'epochs' does not belong in a method"),
        ("- override /", "- /", files.holds_overrides_only, "'/logit_adjustment' in its defaults is not an override line"),
        ("- override /logit_adjustment: temperatures", "- erm", files.holds_overrides_only, "'erm' in its defaults is not"),
        ("/logit_adjustment", "/logit_adjustments", files.holds_overrides_only, "there is no group 'logit_adjustments'; did"),
        ("adjustment: temp", "adjustment: tmp", files.holds_overrides_only, "has no option 'tmperatures'; did you mean"),
        (COMMAND, "", files.says_its_command, "its header has no lines 'command:'; write one, '# command: ltrun method=temp"),
        (COMMAND, COMMAND * 2, files.says_its_command, "its header has 2 lines 'command:'"),
        ("method=temperatures", "method=temp", files.says_its_command, "does not train this preset; write '# command: ltrun"),
        ("cifar100_lt", "cifar", files.says_its_command, "names dataset=cifar, and dataset has no such option"),
        ("dataset=", "data=", files.says_its_command, "names data=cifar100_lt, and data is not a group; leave it out"),
        ("39.6 (Bag of Tricks, best epoch on test)", "good", files.says_its_command, "states no accuracy such as 42.0"),
    ],
)  # fmt: skip
def test_a_broken_rule_of_a_preset_file_is_reported_with_its_path(
    tmp_path: Path, old: str, new: str, check: Check, said: str
) -> None:
    assert old in FILES[PRESET]
    each = file(tmp_path, FILES[PRESET].replace(old, new), "method/temperatures.yaml")
    sentence = sentence_of(check, each)
    assert said in sentence and str(each.path) in sentence


def test_a_preset_without_defaults_gets_an_example(tmp_path: Path) -> None:
    each = file(tmp_path, GLOBAL + "defaults:\n", "method/temperatures.yaml")
    assert "has no defaults; write '- override /GROUP: OPTION'" in sentence_of(files.holds_overrides_only, each)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: {name: mine}\n", "the first line of a dataset is '# @package _global_'"),
        (f"{GLOBAL}name: mine\n", "the data set itself lies below the key 'dataset'"),
        (f"{GLOBAL}dataset: {{name: mine}}\noptimizer: {{lr: 1}}\n", "'optimizer' does not belong in a dataset"),
    ],
)
def test_a_data_set_file_with_keys_of_other_groups_is_reported(tmp_path: Path, text: str, said: str) -> None:
    assert said in sentence_of(files.writes_below_its_group, file(tmp_path, text, "dataset/mine.yaml"))
