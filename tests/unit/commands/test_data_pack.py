"""`ltrun data pack`: one file of features, and refusals."""

from pathlib import Path

import pytest

from ltrun.commands.data import main
from ltrun.errors import ConfigError
from tests.support.videos import make_videos


def test_videos_are_packed_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, packed = make_videos(tmp_path / "videos"), tmp_path / "packed"
    assert main(["pack", "dataset=videolt", f"dataset.root={root}", f"to={packed}", "dtype=float16"]) == 0
    told = capsys.readouterr().out
    assert f"{packed}/features.npy: 54 videos, " in told
    words = told.partition("read them with: ")[2].split()
    assert words == ["dataset=videolt", f"dataset.root={packed}", f"dataset.lists={root}"]
    assert main(words) == 0
    assert "features of 16 numbers, float16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dataset=videolt"], "to: name one folder to write to, as in 'ltrun data pack dataset=videolt to=FOLDER'"),
        (["dataset=videolt", "to=x", "dtype=int8"], "dtype must be float32 or float16, .*, got int8"),
        (["dataset=digits_lt", "to=x"], r"dataset=digits_lt cannot be packed, only features of videos can"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        main(["pack", *words])
