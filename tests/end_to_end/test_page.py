"""The page in headless Chromium: clicked, pressed, compared, filtered, in light and dark, without a network."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from ltrun.cli import dispatch
from ltrun.commands.report import main
from ltrun.report.collect import collect
from ltrun.report.page import page
from ltrun.report.page.contents import Asked, Found
from ltrun.report.state import states
from tests.support.browser import MISSING, PROGRAM, Browser
from tests.support.page_runs import COUNTS, labels_of, saved
from tests.support.predicted import save_run, several_labels
from tests.support.recorded import record

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)
NASTY = "<img src=x onerror=alert(1)></script>"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a page of three methods, one of which has one seed of three, and of a second data set with validation images."""
    folder = tmp_path_factory.mktemp("page")
    for method, lift in (("erm", 0.0), ("ldam_drw", 0.12)):
        for seed in (0, 1, 2):
            saved(folder / "runs", method, seed, lift, name=NASTY)
    saved(folder / "runs", "crt", 1, 0.02, name=NASTY)
    for seed in (0, 1):
        other = record("sade", seed, dataset="digits_lt", splits=("test", "val"), predictors={"plain": ["test_inputs"]})
        other.save(folder / "runs" / f"sade{seed}")
    assert main([str(folder / "runs"), "--html", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, file: Path) -> Iterator[Browser]:
    chromium.open(file)
    yield chromium
    assert chromium.errors == []


ROWS = "tr.row th button"


def row(browser: Browser, name: str) -> str:
    """Returns the selector of the button of the first row with this name."""
    key = browser.value(f"[...document.querySelectorAll('{ROWS}')].find((each) => each.innerText === '{name}').dataset.key")
    return f'[data-key="{key}"]'


def test_a_click_opens_a_row_and_escape_closes_it(browser: Browser) -> None:
    assert browser.texts("h2") == ["CIFAR-100-LT", "Digits-LT"] and browser.texts(ROWS)[:3] == ["ERM", "cRT", "LDAM-DRW"]
    assert "1/3 seeds" in browser.text("tr.row:nth-child(2)")
    assert "saw test inputs" in browser.text("main section:nth-of-type(2) tr.row")
    assert all(words in browser.text(".facts") for words in ("digest", "last epoch", "0123456789"))
    browser.click(row(browser, "ERM"))
    titles = browser.texts("figcaption, .panel h4")
    for title in ("by class", "Confusion by group", "Reliability", "Training", "Runs", "Published", "Command"):
        assert any(title in each for each in titles), title
    assert not any("Weight norms" in each for each in titles)  # no model is kept
    assert browser.text(".panel code") == "ltrun method=erm seed=0 dataset=cifar100_lt"
    assert "38.3" in browser.text(".panel")
    browser.click(".panel summary")
    browser.wait("document.querySelector('.panel details pre')")  # its event comes later
    assert "rates: [0.1, 0.2]" in browser.text(".panel details pre")
    browser.press("Escape")
    assert browser.value("document.querySelector('.panel')") is None
    assert browser.value("document.activeElement.innerText") == "ERM"


def test_names_are_text_and_nothing_is_loaded(browser: Browser) -> None:
    browser.click(row(browser, "ERM"))
    assert browser.value("document.images.length + document.querySelectorAll('main script, main iframe').length") == 0
    browser.value("document.querySelector('.panel svg').dispatchEvent(new PointerEvent('pointermove', {clientX: 0}))")
    assert NASTY in browser.text(".panel output") and "500 training images" in browser.text(".panel output")
    assert browser.value("performance.getEntriesByType('resource').length") == 0


def test_two_rows_are_compared_as_the_definition_says(browser: Browser, file: Path) -> None:
    browser.click(row(browser, "ERM"))
    browser.click(row(browser, "LDAM-DRW"))
    assert browser.text(".panel h3").split() == ["A", "ERM", "against", "B", "LDAM-DRW"]
    hits = {}
    for method in ("erm", "ldam_drw"):
        kept = [np.load(p) for p in sorted(file.parent.glob(f"runs/cifar100_lt/{method}/*/*/predictions.npz"))]
        hits[method] = np.array([run["test_scores_plain"].argmax(1) == run["test_labels"] for run in kept], dtype=float)
    groups = np.array([0 if count > 100 else 2 if count < 20 else 1 for count in COUNTS])[labels_of(COUNTS)]
    told = browser.texts("#comparison tbody tr")
    assert [line.split()[0] for line in told] == ["All", "Many", "Medium", "Few"]
    for line, some in zip(told, [groups >= 0, groups == 0, groups == 1, groups == 2], strict=True):
        difference, half, p = limits(hits["erm"][:, some] - hits["ldam_drw"][:, some])
        shown = [float(x) for x in re.findall(r"[+-]?\d+\.\d+", line.replace("\N{MINUS SIGN}", "-").replace("< ", ""))]
        assert shown[:2] == pytest.approx([100 * difference, 100 * half], abs=0.051)
        assert shown[2:4] == pytest.approx([100 * (difference - half), 100 * (difference + half)], abs=0.051)
        assert shown[4] == pytest.approx(p, abs=0.0011)
        assert ("B is better" in line) == (p < 0.05)
    assert "LDAM" in browser.text(".panel") and "keys in which the rows differ" in browser.text(".panel")


def limits(d: np.ndarray) -> tuple[float, float, float]:
    """Returns difference, half-width and p of hits less hits (n, N) as `ltrun compare` has them, with SciPy's distributions."""
    n, images = d.shape
    each, by_image, whole = d.mean(1), d.mean(0), float(d.mean())
    seeds = float(((each - whole) ** 2).sum() / (n - 1) / n)
    noise = float(((by_image - whole) ** 2).sum() / images**2)
    chance = float(((d - by_image - each[:, None] + whole) ** 2).sum() / (n - 1) / n / images**2)
    beyond, size = max(0.0, noise - chance), abs(whole)
    t, z = stats.t.ppf(0.975, n - 1), stats.norm.ppf(0.975)
    half = max(math.sqrt(t**2 * seeds + z**2 * beyond), z * math.sqrt(noise))
    both = brentq(lambda p: stats.t.isf(p / 2, n - 1) ** 2 * seeds + stats.norm.isf(p / 2) ** 2 * beyond - size**2, 1e-15, 1)
    return whole, float(half), float(max(both, 2 * stats.norm.sf(size / math.sqrt(noise))))


def test_the_arithmetic_of_the_script(browser: Browser) -> None:
    for t, freedom in ((0.3, 1), (2.0, 2), (2.776, 4), (1.96, 37.5), (4.0, 800)):
        assert browser.value(f"exceeding({t}, {freedom})") == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-5)
    for freedom in (1, 2, 4.5, 300):
        assert browser.value(f"quantile({freedom})") == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5)
    assert browser.value("normalTail(1.2)") == pytest.approx(2 * stats.norm.sf(1.2), rel=1e-6)
    same = "const x = [[1,0,1,1],[0,0,1,0]].map((row) => Uint8Array.from(row))"
    assert browser.value(f"(() => {{ {same}; const r = byImages(x, x, null); return [r.difference, r.half, r.p] }})()") == [
        0,
        0,
        1,
    ]
    ours, theirs = [70.1, 71.4, 69.9], [68.0, 70.9, 69.0]
    test = stats.ttest_rel(ours, theirs)
    told = browser.value(f"bySeeds({ours}, {theirs})")
    assert told["p"] == pytest.approx(test.pvalue, rel=1e-5)
    assert told["half"] == pytest.approx(test.confidence_interval().high - np.subtract(ours, theirs).mean(), rel=1e-5)


def test_rows_of_other_metrics_and_tables(browser: Browser) -> None:
    browser.click(row(browser, "ERM"))
    browser.click(row(browser, "cRT"))
    assert "One seed: the interval has the noise of the test images alone" in browser.text("#comparison")
    browser.value("set({metric: 'ece'})")
    assert "one seed shows no noise" in browser.text("#comparison")
    assert "For accuracy, error, macro, 'ltrun compare' has the noise of test images too." in browser.text("#comparison")
    browser.click("main section:nth-of-type(2) tr.row th button")
    assert "not compared" in browser.text("#said") and len(browser.texts("#comparison")) == 0


def test_several_labels_name_the_command_with_the_noise_of_images(
    chromium: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command on the page runs, and has the difference of the page."""
    for data_set, classes in (("voc_lt", 4), ("coco_lt", 5)):
        labels, scores = several_labels(120, classes)
        for method, noise in (("erm", 1), ("rebalanced_focal", 2)):
            for seed in (0, 1, 2):
                own = scores + noise * np.random.default_rng(seed).normal(size=scores.shape).astype(np.float32)
                save_run(
                    tmp_path / "runs", labels, {"plain": own}, COUNTS[:classes], method=method, seed=seed, dataset=data_set
                )
    assert main([str(tmp_path / "runs"), "--html", str(tmp_path / "page.html")]) == 0
    chromium.open(tmp_path / "page.html")
    for name in ("ERM", "R-BCE-Focal"):
        chromium.click(row(chromium, name))
    told = chromium.text("#comparison")
    assert "Interval from 3 paired seeds alone (paired t-test). With the noise of test images too: ltrun compare" in told
    command = shlex.split(chromium.text("#comparison small code"))
    capsys.readouterr()
    assert command[-4:] == ["--metric", "map", "--dataset", "coco_lt"]
    assert dispatch([*command[1:], "--in", str(tmp_path / "runs"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    shown = float(re.findall(r"[+\N{MINUS SIGN}]\d+\.\d+", told)[0].replace("\N{MINUS SIGN}", "-"))
    assert found["one"] == "ERM" and 100 * found["columns"][0]["difference"] == pytest.approx(shown, abs=0.051)
    chromium.value("set({metric: 'micro_f1'})")
    assert "For map, 'ltrun compare' has the noise of test images too." in chromium.text("#comparison")
    assert chromium.errors == []


def test_sorting_filtering_and_the_address(browser: Browser, file: Path) -> None:
    browser.click("main section:nth-of-type(1) thead th:nth-child(2) button")
    assert browser.texts(ROWS)[:3] == ["LDAM-DRW", "cRT", "ERM"]
    assert browser.value("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"
    browser.click("main section:nth-of-type(1) thead th:nth-child(2) button")
    assert browser.texts(ROWS)[:3] == ["ERM", "cRT", "LDAM-DRW"]
    browser.click("main section:nth-of-type(1) thead th:nth-child(2) button")
    assert browser.value("document.querySelector('th[aria-sort]')") is None
    browser.press("/")
    browser.type("ldam")
    browser.wait("document.querySelectorAll('tr.row').length === 1")
    assert browser.text("#count") == "1 of 4 rows"
    browser.press("Escape")
    browser.wait("document.querySelectorAll('tr.row').length === 4")
    for key, value, rows in (("data", "digits_lt", 1), ("slot", "nothing=x", 0)):
        browser.value(f"set({{{key}: '{value}'}})")
        assert len(browser.texts(ROWS)) == rows
        browser.value(f"set({{{key}: ''}})")
    browser.value("set({group: 'few', split: 'val', metric: 'error'})")
    assert browser.texts("main section:nth-of-type(1) thead th") == ["Method", "All", "Few", "n"]
    assert "on the val split" in browser.text("main section:nth-of-type(2)") and "on the test split" in browser.text(
        "main section:nth-of-type(1)"
    )
    browser.open(file, browser.value("location.hash"))
    assert browser.texts("main section:nth-of-type(1) thead th") == ["Method", "All", "Few", "n"]


def test_the_keyboard_alone(browser: Browser) -> None:
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    assert browser.value("document.activeElement.innerText") == "cRT"
    browser.press("Enter")
    assert browser.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert browser.text(".panel h3") == "cRT"
    browser.press("ArrowUp")
    browser.press("Enter")
    assert "against" in browser.text(".panel h3")
    browser.press("Escape")
    assert browser.value("document.querySelectorAll('[aria-expanded=true]').length") == 0


def test_light_dark_print_and_a_narrow_window(browser: Browser, file: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.colours("dark")
    browser.open(file)
    assert browser.value(paper) == "rgb(20, 22, 26)"
    browser.click("#theme")
    assert browser.value(paper) == "rgb(255, 255, 255)"
    browser.click("#theme")
    browser.colours("light", "print")
    assert browser.value("getComputedStyle(document.querySelector('.filters')).display") == "none"
    browser.colours("light")
    browser.value("localStorage.removeItem('ltrun-theme')")
    browser.resize(400, 800)
    browser.open(file)
    browser.click(ROWS)
    assert browser.value("document.documentElement.scrollWidth") <= 400
    browser.resize(1280, 900)


def test_a_watched_page_loads_itself_anew_and_keeps_its_place(browser: Browser, file: Path, tmp_path: Path) -> None:
    records, _ = collect([file.parent / "runs"])
    (tmp_path / "live.html").write_text(page(Found(records, states([file.parent / "runs"])[0]), Asked(), seconds=1))
    browser.open(tmp_path / "live.html")
    browser.click(row(browser, "LDAM-DRW"))
    browser.value("window.before = true")
    browser.wait("window.before === undefined && document.querySelector('.panel h3') !== null")
    assert browser.text(".panel h3") == "LDAM-DRW"
    browser.click("#live")
    assert "Paused" in browser.text("#live")
