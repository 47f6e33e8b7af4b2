"""Pictures of the README: the terminal output of two commands, as SVG.

`make pictures` writes report.svg, the table that `make run` ends with, and data.svg, a data set and its tail. Each command runs
on a pseudo-terminal. Words become text at fixed columns; bars and rules become rectangles on a dark background.
"""

import argparse
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONSOLE = Console()
COLUMNS = 88
REPORT = "ltrun report outputs/digits_lt"
DATA = "ltrun data dataset=digits_lt"
TITLES = {
    REPORT: "The table of four methods on digits: accuracy of all, many-, medium- and few-shot classes",
    DATA: "The long tail of digits: classes and images of the many-, medium- and few-shot groups, and a bar for each class",
}
ADVANCE, LINE, SIZE, MARGIN = 8.4, 20, 14, 20  # pixels: width of a character, heights of a line and of the font, margin
EIGHTHS = " ▏▎▍▌▋▊▉█"
COLOURS = {"green": "#3fb950", "yellow": "#d29922", "red": "#f85149"}
RUN = re.compile(f"[{EIGHTHS[1:]}]+|─+|[^\\s{EIGHTHS[1:]}─]+(?: [^\\s{EIGHTHS[1:]}─]+)*")
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"


def printed(command: str, folder: Path) -> str:
    """The output of a command in this folder on a terminal of 88 columns, with colours. Exits if the command fails."""
    screen, end = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONWARNINGS")}
    environment |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "LTRUN_OUTPUTS": "outputs"}
    words = [sys.executable, "-m", *shlex.split(command)]
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdin=end, stdout=end, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(end)
        chunks = []
        while chunk := _read(screen):
            chunks.append(chunk)
        problem = process.communicate()[1]
    os.close(screen)
    if process.returncode:
        raise SystemExit(f"{command}: {problem.strip()}")
    return b"".join(chunks).decode().replace("\r\n", "\n")


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux: the other end is closed
        return b""


def drawn(command: str, output: str) -> str:
    """An SVG of a terminal: the command after a green `$`, then the output in the colours of its escape codes."""
    lines = [Text.assemble(("$ ", "green"), (command, "bold")), *Text.from_ansi(output.rstrip()).split("\n")]
    shapes = [shape for number, line in enumerate(lines) for shape in _shapes(line, MARGIN + LINE * number)]
    width, height = round(2 * MARGIN + ADVANCE * COLUMNS), 2 * MARGIN + LINE * len(lines)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(TITLES[command])}</title>',
            f'<desc id="description">A terminal that shows the output of {escape(command)}</desc>',
            f"<style>text {{ font: {SIZE}px {FONTS}; fill: #e6edf3; white-space: pre }} .bold {{ font-weight: 600 }} "
            f".dim {{ fill: #9198a1 }} {' '.join(f'.{name} {{ fill: {value} }}' for name, value in COLOURS.items())}</style>",
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#161b22" stroke="#3d444d"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def _shapes(line: Text, top: float) -> list[str]:
    """Rectangles of bars and rules, and text, each placed at its column whatever the font."""
    shapes, column = [], 0
    for segment in line.render(CONSOLE):
        for run in RUN.finditer(segment.text):
            word, left = run.group(), MARGIN + ADVANCE * (column + run.start())
            style = _classes(segment.style or Style())
            if word[0] in EIGHTHS:
                wide = ADVANCE * sum(EIGHTHS.index(block) for block in word) / 8
                shapes.append(f'<rect x="{left:.1f}" y="{top + 4}" width="{wide:.1f}" height="{LINE - 7}"{style}/>')
            elif word[0] == "─":
                wide = ADVANCE * len(word)
                shapes.append(f'<rect x="{left:.1f}" y="{top + LINE / 2:.0f}" width="{wide:.1f}" height="1" class="dim"/>')
            else:
                place = f'x="{left:.1f}" y="{top + LINE - 5}" textLength="{ADVANCE * len(word):.1f}"'
                shapes.append(f"<text {place}{style}>{escape(word)}</text>")
        column += len(segment.text)
    return shapes


def _classes(style: Style) -> str:
    names = [name for name in ("bold", "dim") if getattr(style, name)]
    names += [name for name in COLOURS if style.color and style.color.number == Color.parse(name).number]
    return f' class="{" ".join(names)}"' if names else ""


def check_runs(folder: Path) -> None:
    """Exits unless outputs/digits_lt holds the runs of `make run` and no others."""
    (sweep,) = re.findall(
        r"ltrun (-m method=(\S+) seed=(\S+) dataset=digits_lt)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    command, methods, seeds = sweep
    wanted = {(method, f"seed{seed}") for method in methods.split(",") for seed in seeds.split(",")}
    found = {(path.parts[-4], path.parts[-2]) for path in (folder / "outputs/digits_lt").glob("*/*/*/result.json")}
    if wanted != found:
        which = ", ".join("/".join(run) for run in sorted(wanted ^ found))
        raise SystemExit(
            f"{folder / 'outputs/digits_lt'} must hold the runs of `make run` and no others (different: {which}); "
            f"run `ltrun {command}` in an empty folder, then name that folder with --runs"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=Path, default=ROOT, metavar="FOLDER", help="folder of `make run` (default: this checkout)"
    )
    folder = parser.parse_args().runs.resolve()
    check_runs(folder)
    for name, command in {"report.svg": REPORT, "data.svg": DATA}.items():
        (HERE / name).write_text(drawn(command, printed(command, folder)))


if __name__ == "__main__":
    main()
