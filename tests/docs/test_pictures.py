"""Pictures of the README: they show the current output of two commands."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.support.documents import REPOSITORY

PICTURES = REPOSITORY / "docs" / "pictures"
OUTDATED = "docs/pictures/{} is not what ltrun prints today; draw it anew: make pictures"
SVG = "{http://www.w3.org/2000/svg}"


def lines(picture: str) -> list[str]:
    """The text of an SVG, one line per height, words from left to right."""
    found: dict[float, list[tuple[float, str]]] = {}
    for text in ElementTree.fromstring(picture).iter(f"{SVG}text"):
        found.setdefault(float(text.attrib["y"]), []).append((float(text.attrib["x"]), text.text or ""))
    return [" ".join(word for _, word in sorted(words)) for _, words in sorted(found.items())]


def without_bars(output: str) -> list[str]:
    """The lines of a terminal's output, without colours, bars and rules."""
    plain = re.sub(r"\x1b\[[0-9;]*m|[▏▎▍▌▋▊▉█─]", "", output)
    return [" ".join(line.split()) for line in plain.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", PICTURES / "draw.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_data_shows_the_output_of_its_command(draw: ModuleType, tmp_path: Path) -> None:
    output = draw.printed(draw.DATA, tmp_path)
    picture = (PICTURES / "data.svg").read_text()
    shown = [" ".join(line.split()) for line in lines(picture)]
    assert shown == [f"$ {draw.DATA}", *without_bars(output)], OUTDATED.format("data.svg")
    assert picture == draw.drawn(draw.DATA, output), OUTDATED.format("data.svg")


def test_the_picture_of_a_report_has_the_current_rows_columns_and_caption(draw: ModuleType, finished: Path) -> None:
    """Numbers, and the line about noise below the table, differ between machines and epochs."""
    shown, today = (
        lines((PICTURES / "report.svg").read_text()),
        lines(draw.drawn(draw.REPORT, draw.printed(draw.REPORT, finished))),
    )
    end = next(i for i, line in enumerate(today) if line.endswith("training images."))
    numberless = [
        [" ".join(re.sub(r"\d+\.\d", "0.0", line).split()) for line in picture[: end + 1]] for picture in (shown, today)
    ]
    assert numberless[0] == numberless[1], OUTDATED.format("report.svg")
    assert shown[2] == "Method All Many Medium Few n"


@pytest.mark.parametrize("name", ["data.svg", "report.svg"])
def test_a_picture_loads_no_other_file_and_has_a_title_and_a_description(name: str) -> None:
    root = ElementTree.fromstring(text := (PICTURES / name).read_text())
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") and root.findtext(f"{SVG}desc")
    assert len(text) < 8192


def test_bars_have_the_width_of_their_characters(draw: ModuleType) -> None:
    picture = draw.drawn(draw.DATA, "one 3 \x1b[31m██▌\x1b[0m\n")
    bar = ElementTree.fromstring(picture).findall(f"{SVG}rect")[1]
    assert bar.attrib["class"] == "red"
    assert float(bar.attrib["width"]) == pytest.approx(2.5 * draw.ADVANCE)
    assert float(bar.attrib["x"]) == pytest.approx(draw.MARGIN + 6 * draw.ADVANCE, abs=0.1)


def test_runs_of_another_sweep_are_refused_with_the_command(draw: ModuleType, finished: Path, tmp_path: Path) -> None:
    draw.check_runs(finished)
    with pytest.raises(SystemExit, match=r"ldam_drw/seed1.*`ltrun -m method=erm,"):
        draw.check_runs(tmp_path)


def test_an_ablation_among_the_runs_is_refused(draw: ModuleType, finished: Path, tmp_path: Path) -> None:
    for run in (finished / "outputs/digits_lt").glob("*/*/*/result.json"):
        folder = tmp_path / run.parent.relative_to(finished)
        folder.mkdir(parents=True)
        (folder / run.name).touch()
    draw.check_runs(tmp_path)
    ablation = tmp_path / "outputs/digits_lt/erm/01234567/seed0"
    ablation.mkdir(parents=True)
    (ablation / "result.json").touch()
    with pytest.raises(SystemExit, match=r"\(different: erm/seed0\)"):
        draw.check_runs(tmp_path)
