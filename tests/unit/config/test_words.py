"""Quoting of a command line: the words of the shell, the overrides that Hydra reads, and the printed command."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ltrun.config.words import command_line, for_hydra, words_of
from ltrun.errors import ConfigError

AWKWARD = [
    "photos (1)", "Bäume", "a=b", "a#b", "照片", "it's", 'say "x"', "a,b", "trail ", " lead", "[x]", "{x}", "(x", "x]", "US$",
    "$HOME", "a!b", "😀",
    "a;b", "a&b", "a`b", "<x>", "a|b", "^", "%20", "a:b", "a\\b", "end\\", "'q'", '"q"', "choice(a)", "glob(x)",
    "2024", "2024-01", "1e3", "0x10", "1_000", "inf", "nan", "true", "False", "~x", "-x", "--x", "+x", "@x", "a\tb", "...",
]  # fmt: skip
INTERPOLATED = ["${x}", "a\\${b}", "${", "a${b"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(override: str) -> Any:
    """Returns the value that Hydra reads from an override."""
    value = OverridesParser.create().parse_override(override).value()
    return OmegaConf.to_container(OmegaConf.create({"key": value}), resolve=True)["key"]  # type: ignore[index, call-overload]


def swept(override: str) -> list[Any]:
    parsed = OverridesParser.create().parse_override(override)
    assert parsed.is_sweep_override()
    return [read(f"key={text}") for text in parsed.sweep_string_iterator()]


@pytest.mark.parametrize("key", ["dataset.root", "outputs", "dataset.name", "+margin.adjust.weights_file", "+x.cache_dir"])
@pytest.mark.parametrize("name", [name for name in AWKWARD if name[0] not in "~'\""])
def test_a_path_may_have_any_characters(key: str, name: str) -> None:
    (word,) = for_hydra([f"{key}={name}"])
    assert read(word) == name


@pytest.mark.parametrize("name", AWKWARD + INTERPOLATED)
@pytest.mark.parametrize("key", ["dataset.root", "+margin.adjust.weights", "+classifier.head.init"])
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_an_existing_path_is_one_value(flags: list[str], key: str, name: str) -> None:
    Path(name).mkdir()
    *_, word = for_hydra([*flags, f"{key}={name}"])
    assert Path(read(word)) == Path(name)


def test_a_sweep_over_paths_splits_at_commas_outside_existing_paths(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a,b").mkdir()
    *_, word = for_hydra(["-m", "dataset.root=photos (1),a,b,2024, other"])
    assert swept(word) == ["photos (1)", "a,b", "2024", "other"]
    assert "dataset.root: 'a,b' exists, so it is one value of the sweep" in capsys.readouterr().out
    *_, word = for_hydra(["-m", "dataset.root='c,d',choice"])
    assert swept(word) == ["c,d", "choice"]
    *_, word = for_hydra(["-m", "dataset.root=choice(c,d)"])
    assert swept(word) == ["c", "d"]
    (word,) = for_hydra(["outputs=c,d"])
    assert read(word) == "c,d", "without -m, a comma separates nothing"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("seed=1", 1), ("optimizer.lr=1e-2", 0.01), ("runtime.threads=null", None), ("force=true", True),
        ("plan=[train]", ["train"]), ("+x.map={a: 1}", {"a": 1}), ("+x.weights=0.5", 0.5), ("+x.weights=null", None),
        ("+x.text=Größe", "Größe"), ("+x.text=a (b)", "a (b)"), ("+x.text=trail ", "trail "), ("+x.text=a=b#c", "a=b#c"),
        ("+x.texts=[Größe, b c,3]", ["Größe", "b c", 3]), ("+x.text='a,b'", "a,b"),
        ("margin=2024", "2024"), ("margin=Größe", "Größe"), ("margin=p(1)", "p(1)"), ("margin=true", "true"),
        ("posthoc=[1,tau_norm]", ["1", "tau_norm"]), ("posthoc=[]", []), ("margin=null", None), ("dataset.root=null", None),
    ],
)  # fmt: skip
def test_a_value_keeps_its_type_and_the_name_of_an_option_is_text(word: str, value: object) -> None:
    (found,) = for_hydra([word])
    assert read(found) == value


def test_a_users_option_may_have_any_name(tmp_path: Path) -> None:
    for name in ("a,b", "2024", "Größe (neu)"):
        (tmp_path / "own" / "margin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / "margin" / f"{name}.yaml").write_text("{}")
    *_, word = for_hydra(["--config-dir", "own", "margin=a,b"])
    assert read(word) == "a,b"
    *_, word = for_hydra(["-m", "--config-dir=own", "margin=a,b,2024,Größe (neu)"])
    assert swept(word) == ["a,b", "2024", "Größe (neu)"]


def test_an_interpolation_in_a_path_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/data")
    (word,) = for_hydra(["dataset.root=${oc.env:PLACE}/photos (1)"])
    assert read(word) == "/data/photos (1)"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "my home (1)"))
    for key in ("dataset.root", "outputs", "+x.text", "+x.weights"):
        for given, meant in {"~": "", "~/a": "/a", "~/a=b": "/a=b"}.items():
            (word,) = for_hydra([f"{key}={given}"])
            assert read(word) == str(tmp_path / "my home (1)") + meant
    *_, word = for_hydra(["-m", "dataset.root=~/a,~/b"])
    assert swept(word) == [str(tmp_path / "my home (1)" / name) for name in "ab"]
    with pytest.raises(ConfigError, match=r"dataset\.root: ~nosuch/c .* no user 'nosuch' with a home; give the full path"):
        for_hydra(["dataset.root=~nosuch/c"])
    Path("~nosuch").mkdir()
    (word,) = for_hydra(["dataset.root=~nosuch"])
    assert read(word) == "./~nosuch"
    (word,) = for_hydra(["~dataset.augments"])
    assert word == "~dataset.augments"


def test_flags_come_first_with_their_values() -> None:
    assert for_hydra(["seed=7", "--cfg", "job", "-m"]) == ["--cfg", "job", "-m", "seed=7"]
    assert for_hydra(["--info", "method=erm"]) == ["--info=all", "method=erm"]
    assert for_hydra(["method=erm", "--info", "config"]) == ["--info=config", "method=erm"]
    Path("a=b").mkdir()
    assert for_hydra(["--config-dir", "a=b", "seed=1"]) == ["--config-dir", "a=b", "seed=1"]
    assert for_hydra(["-sc", "install=bash"]) == ["-sc", "install=bash"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["=ldam"], "'=ldam' names no key: write KEY=VALUE"),
        (["++=ldam"], "names no key"),
        (["seed=1", "method"], "'method' sets nothing: write method=NAME"),
        (["seed"], "'seed' sets nothing: write seed=VALUE"),
        (["seed=1", "crt"], "'crt' sets nothing: write method=crt or decoupling=crt, or leave it out"),
        (["seed:1"], "'seed:1' sets nothing: write seed=1, or leave it out"),
        (["seed=1", "out/a (1)"], "'out/a (1)' sets nothing: write KEY=VALUE, or leave it out"),
        (
            ["seed=1", "--lr", "0.1"],
            "no flag '--lr'; ltrun --help and ltrun --hydra-help list them, and a setting has no dashes",
        ),
        (["method=erm,ldam"], "only a sweep, ltrun -m ..., takes"),
        (["seed=1, 2"], "several values"),
        (["--config-dir"], "--config-dir: names no folder"),
        (["--config-dir="], "--config-dir: names no folder"),
        (["--config-dir", ""], "--config-dir: names no folder"),
        (["--cfg"], "--cfg: has no value"),
        (["--multrun"], "no flag '--multrun'; did you mean '--multirun'?"),
    ],
)
def test_a_word_that_is_no_override_is_refused_with_a_way_out(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        for_hydra(words)
    assert said in str(refusal.value)


def test_the_last_value_of_a_repeated_key_counts_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert for_hydra(["seed=1", "epochs=2", "seed=2"]) == ["epochs=2", "seed=2"]
    assert capsys.readouterr().err == "seed is given twice, and the last word counts: seed=2\n"
    assert for_hydra(["seed=1", "seed=1"]) == ["seed=1"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", AWKWARD + INTERPOLATED)
@pytest.mark.parametrize("key", ["dataset.root", "+margin.adjust.weights", "margin", "+x.text"])
def test_a_printed_command_means_the_same_when_it_is_typed(key: str, name: str) -> None:
    """Read by the shell, then by Hydra; also if the value is quoted for Hydra already, and whether or not the path exists."""
    try:
        overrides = for_hydra([f"{key}={name}"])
        before = OverridesParser.create().parse_override(overrides[0]).value()
    except (ConfigError, HydraException):
        return  # a sweep, an unknown home folder, an unreadable mapping
    program, *typed = shlex.split(command_line(words_of(overrides)))
    assert program == "ltrun"
    assert repr(OverridesParser.create().parse_override(for_hydra(typed)[0]).value()) == repr(before)


def test_a_printed_command_has_no_needless_quotes() -> None:
    overrides = for_hydra(["dataset.root=photos (1)", "margin=Größe", "seed=1", "dataset.name=2024"])
    assert command_line(words_of(overrides)) == "ltrun 'dataset.root=photos (1)' 'margin=Größe' seed=1 dataset.name=2024"
    assert command_line(["method=erm"], "data", "export") == "ltrun data export method=erm"
    assert os.sep in command_line(["to=a/b"])
