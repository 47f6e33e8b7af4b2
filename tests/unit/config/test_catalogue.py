"""Catalogue of options: summaries and citations from headers, the search path, suggestions for misspelt names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ltrun.commands.methods import main
from ltrun.config import catalogue
from ltrun.config.catalogue import Option, groups, options, suggest, titles
from ltrun.errors import ConfigError
from ltrun.taxonomy import GROUPS, SLOTS
from tests.support.files import write_files


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder of options."""
    files = {
        "margin/mine.yaml": "# Widens margins.\n# Me, 2025\nadjust: {}\n# not a header\n",
        "margin/ldam.yaml": "# Would shadow ltrun's own.\n",
        "margin/bare.yaml": "adjust: {}\n",
        "margin/empty.yaml": "",
        "margin/binary.yaml": "\u0000",
        "margin/notes.txt": "# not an option",
        "method/mine.yaml": "# @package _global_\n# My method.\n# command: ltrun method=mine\n# expected: 40.1\ndefaults: []\n",
        "margin/loud.yaml": "#Rings \x1b[31mthe bell\x07.\n#\n# no citation: it is a joke\n",
        "hydra/launcher/cluster.yaml": "# Not for choosing here.\n",
        "other/thing.yaml": "# A user's group.\n",
    }
    write_files(tmp_path, files)
    (tmp_path / "margin" / "latin.yaml").write_bytes("# caf\u00e9".encode("latin-1"))
    (tmp_path / "margin" / "folder.yaml").mkdir()
    return tmp_path


def test_every_slot_is_listed_in_taxonomy_order() -> None:
    found = groups()
    assert set(SLOTS) <= set(found)
    assert [group for group in GROUPS if group in found] == [group for group in found if group in GROUPS]


@pytest.mark.parametrize("group", groups())
def test_every_option_has_a_summary(group: str) -> None:
    for option in options(group):
        assert option.summary.endswith(".") or group == "method", f"{group}/{option.name}.yaml has no one-sentence header"
        assert option.summary, f"{group}/{option.name}.yaml has no header"


@pytest.mark.parametrize("group", [group for group in groups() if group in SLOTS])
def test_every_published_option_is_cited(group: str) -> None:
    for option in options(group):
        text = next(folder / group / f"{option.name}.yaml" for folder in catalogue.folders()).read_text(encoding="utf-8")
        assert option.citation or option.name == "none" or "no citation" in text, f"{group}/{option.name}.yaml cites nobody"


def test_the_header_of_a_file_describes_its_option(own: Path) -> None:
    found = {option.name: option for option in options("margin", [own])}
    assert found["mine"] == Option("mine", "Widens margins.", "Me, 2025")
    assert found["ldam"].summary != "Would shadow ltrun's own."
    assert found["loud"] == Option("loud", "Rings [31mthe bell.", "")
    assert all(found[name] == Option(name) for name in ("bare", "empty", "binary", "latin"))
    assert not found.keys() & {"notes", "notes.txt", "folder"}
    method = {option.name: option for option in options("method", [own])}
    assert method["mine"] == Option("mine", "My method.", "", "40.1", command="ltrun method=mine")


@pytest.mark.parametrize(
    ("checked", "golden"),
    [
        ("matches ldam, resnet32", ("ldam", "resnet32")),
        ("matches ldam (powers 0, 1; of one), resnet32; shared parts match bbn", ("ldam", "resnet32", "bbn")),
        ("implemented, agrees with the paper, twice; shared parts match bbn, ride", ("bbn", "ride")),
        ("implemented, agrees with the paper", ()),
        ("ldam", ()),
        ("implemented", ()),
        ("", ()),
    ],
)
def test_a_header_names_the_files_of_reference_values(checked: str, golden: tuple[str, ...]) -> None:
    assert Option("mine", checked=checked).golden == golden


def test_a_preset_says_its_family_and_how_it_was_checked() -> None:
    (found,) = (option for option in options("method") if option.name == "ride")
    assert found.family == "ensemble" and found.golden == ("ride", "drw_and_lr_schedules", "ldam", "resnet32")


def test_every_method_has_a_unique_title_and_data_sets_have_titles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = titles("method")
    assert found.keys() == {option.name for option in options("method")}
    assert len(set(found.values())) == len(found)
    assert (found["ldam_drw"], found["balanced_softmax"], found["crt"]) == ("LDAM-DRW", "Balanced Softmax", "cRT")
    assert titles("dataset")["cifar100_lt"] == "CIFAR-100-LT"
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("# @package _global_\n# name: My Loss\n# Widens margins.\n")
    monkeypatch.setenv("LTRUN_SEARCHPATH", str(tmp_path))
    assert titles("method")["mine"] == "My Loss"
    monkeypatch.setenv("LTRUN_SEARCHPATH", "/is/not/there")
    assert titles("method") == {}


def test_none_comes_first() -> None:
    assert next(option.name for option in options("margin")) == "none"


def test_a_users_groups_are_listed_and_hydras_are_not(own: Path) -> None:
    assert "other" in groups([own])
    assert "hydra" not in groups([own])


def test_options_are_found_in_the_folders_of_ltrun_searchpath(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (str(own), f":{own.parent}:{own}:"):
        monkeypatch.setenv("LTRUN_SEARCHPATH", text)
        assert "mine" in {option.name for option in options("margin")}
    monkeypatch.setenv("LTRUN_SEARCHPATH", f"{own}:/is/not/there")
    with pytest.raises(ConfigError, match="/is/not/there, which is not a folder"):
        options("margin")


def test_a_misspelt_name_gets_the_nearest_name_and_a_path_is_refused() -> None:
    assert suggest("margin", "ldma") == "; did you mean 'ldam'?"
    assert "ldam" in suggest("margin", "xyzzy")
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        options("margn")
    for escape in ("..", "../ltrun", "/etc", ""):
        with pytest.raises(ConfigError):
            options(escape)


def test_the_command_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for option in (option for group in groups() for option in options(group)):
        of_that_name = [line for line in lines if line.split()[:1] == [option.name]]
        assert any(option.summary in line and option.citation in line for line in of_that_name)


def test_the_command_lists_only_the_named_groups(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["margin", "--config-dir", str(own)]) == 0
    out = capsys.readouterr().out
    assert "Widens margins. (Me, 2025)" in out
    assert "reweighting" not in out


@pytest.mark.parametrize("argv", [["margn"], ["--config-dir", "/is/not/there"]])
def test_the_command_refuses_in_one_sentence(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_a_terminal_gets_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["margin"]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "ldam" in out
    assert max(map(len, out.splitlines())) <= 60
    assert "\u2026" not in out  # long lines are wrapped, not cut off


def test_the_command_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'hydra', 'sklearn', 'pandas'}"
    code = f"import sys, ltrun.commands.methods as c; c.main([]); print(sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr.strip() == "[]"
