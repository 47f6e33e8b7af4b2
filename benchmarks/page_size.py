"""Size of the page of 1,000 runs, the time to write it and the time in which headless Chromium opens it.

Makes runs of CIFAR-100-LT's shape (100 classes, 10,000 test images, 200 epochs) in a temporary folder, then

    python -m benchmarks.page_size --runs 1000 --seeds 5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from ltrun.report.page.contents import Asked
from ltrun.report.page.write import write
from tests.support.browser import MISSING, PROGRAM, Browser
from tests.support.page_runs import saved

CLASSES, IMAGES, EPOCHS = 100, 100, 200  # test images of each class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    counts = [round(500 * 100 ** (-c / (CLASSES - 1))) for c in range(CLASSES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(asked.runs):
            method, seed = f"method_{i // asked.seeds}", i % asked.seeds
            saved(folder / "runs", method, seed, 0.0005 * (i // asked.seeds), counts, IMAGES, EPOCHS)
        start = time.perf_counter()
        write([folder / "runs"], folder / "page.html", Asked())
        written = time.perf_counter() - start
        size = (folder / "page.html").stat().st_size
        print(f"{asked.runs} runs in {asked.runs // asked.seeds} rows: {size / 1e6:.2f} MB, written in {written:.1f} s")
        print(opened(folder) if PROGRAM else f"not opened: this {MISSING}")


def opened(folder: Path) -> str:
    """Returns the times to open the page, to sort its rows and to open one, in milliseconds."""
    with Browser(folder / "browser") as browser:
        times = []
        for _ in range(3):
            browser.open(folder / "page.html")
            browser.wait("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            times.append(browser.value("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        sorting, opening = (
            browser.value(f"(() => {{ const t = performance.now(); {words}; return performance.now() - t }})()")
            for words in ("set({sort: 'accuracy'})", "document.querySelector('tr.row th button').click()")
        )
        assert browser.errors == []
    return f"opens in {min(times):.0f} to {max(times):.0f} ms, sorts in {sorting:.0f} ms, opens a row in {opening:.0f} ms"


if __name__ == "__main__":
    main()
