"""Sessions of the documents: the commands of each block, run as a reader types them, and a sentence for each failure.

A block of `sh` holds commands, one a line; a block of `console` holds `$ command` lines, each before lines of its output, where
`...` skips any. A comment that holds `needs a GPU`, `needs a network` or `needs a cluster` keeps a command from being run; one
that begins with `refused` says that ltrun exits with 1. A block with a file's name in its info is written to that file.

A command runs as it stands, but for these rules, which keep a page within seconds:
* `ltrun` trains CIFAR and photos for one epoch of resnet8, and each job of a sweep for one epoch; `glob(*)` is all presets
  of LDAM. A single run on digits is as long as it stands.
* `make TARGET` is `make -n TARGET` in the repository: the target exists, no recipe runs.
* `pytest` and `python -m pytest` only find the files that they are given.
* `python benchmarks/NAME.py` shows its help, which has every flag that is given; one without a help reads the repository.
"""

import contextlib
import logging
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import pytest

from ltrun.cli import COMMANDS, dispatch
from tests.support.documents import REPOSITORY, Fence, Page, block_fault

MARK = re.compile(r"needs an? (GPU|network|cluster)\b")
OUTSIDE = re.compile(
    r"\b(git (clone|fetch|pull|push|submodule)|pip3? (install|download|wheel)|(pipx|conda|apt|apt-get|brew) install|docker"
    r"|twine|curl|wget|ssh|scp|rsync|sbatch|srun)\b|=submitit"
)
SPECIAL = re.compile(r"""'[^']*'|"[^"$`\\]*"|\\.|(?P<shell>[|&;<>()$`*?{}"'\\]|(?<!\S)~)""")
SECONDS = 600  # time limit of a command


@dataclass(frozen=True)
class Command:
    line: int
    text: str
    comment: str = ""
    shown: tuple[str, ...] = ()
    """Lines of its output, as the page shows it."""

    @property
    def marked(self) -> bool:
        return MARK.search(self.comment) is not None

    @property
    def may_fail(self) -> bool:
        return self.comment.startswith("refused") or any(line.startswith("ltrun: ") for line in self.shown)


def commands(fence: Fence) -> list[Command]:
    """Returns the commands of a block of sh or console; other blocks have none."""
    if fence.language not in ("sh", "console") or block_fault(fence):
        return []
    found: list[Command] = []
    lines = enumerate(fence.content.splitlines(), fence.line)
    for number, line in lines:
        prompt = fence.language == "sh" or line.startswith("$ ")
        if not prompt:
            found[-1] = replace(found[-1], shown=(*found[-1].shown, line))
            continue
        text = line.removeprefix("$ ") if fence.language == "console" else line
        while text.endswith("\\"):
            text = text[:-1].rstrip() + " " + next(lines, (0, ""))[1].removeprefix("> ").lstrip()
        text, comment = split_comment(text)
        if text:
            found.append(Command(number, text, comment))
    return found


def split_comment(line: str) -> tuple[str, str]:
    """Splits a line into command and comment, which begins with a # that is neither quoted nor within a word."""
    for found in re.finditer(r"""'[^']*'|"(?:\\.|[^"])*"|\\.|(?<!\S)#""", line):
        if found.group() == "#":
            return line[: found.start()].strip(), line[found.end() :].strip()
    return line.strip(), ""


def split(text: str) -> list[str]:
    """Returns the words of a command, or none if a quote is open, which bash reports."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def assigned(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Splits words into the variables before a command and the command."""
    count = next((i for i, word in enumerate(words) if not re.match(r"[A-Za-z_]\w*=", word)), len(words))
    return dict(word.split("=", 1) for word in words[:count]), words[count:]


def needs_shell(text: str) -> bool:
    return any(found["shell"] for found in SPECIAL.finditer(text))


def of_ltrun(words: list[str]) -> list[str]:
    """Returns the words with `python -m ltrun` as `ltrun`."""
    return words[2:] if re.match(r"python3?$", words[0] if words else "") and words[1:3] == ["-m", "ltrun"] else words


def trains(words: list[str]) -> bool:
    """Whether the words of a command of ltrun start or repeat a training."""
    words = of_ltrun(words)
    if not words or words[0] != "ltrun" or any(word in ("--help", "-h", "--cfg", "--info", "--version") for word in words):
        return False
    if words[1:2] and words[1] in COMMANDS:
        return words[1] == "rerun" and "--print" not in words
    return any("=" in word for word in words)


def shortened(text: str) -> str:
    """Returns the command with keys that shorten its training to seconds; see the rules above."""
    words = of_ltrun(assigned(split(text))[1])
    if not trains(words) or words[1] == "rerun":
        return text
    text = text.replace("glob(*)", "glob(ldam*)")
    keys = dict(word.split("=", 1) for word in words if re.match(r"[\w/.]+=", word))
    more = []
    if keys.get("dataset", "cifar100_lt") != "digits_lt" and keys.get("experiment") in (None, "first_look"):
        text = re.sub(r"(?<=\s)epochs=\S+", "", text)
        more = ["epochs=1"] + ["network=resnet8"] * ("network" not in keys)
    elif "-m" in words and "epochs" not in keys:
        more = ["epochs=1"]
    return re.sub(r"(^|\s)ltrun(?=\s)", r"\1" + " ".join(["ltrun", *more]), text, count=1)


def is_slow(page: Page) -> bool:
    """Whether a command of the page trains."""
    every = [command for fence in page.fences() for command in commands(fence) if not command.marked]
    return any(re.search(r"\bltrun\b", one.text) and trains(assigned(split(one.text))[1]) for one in every)


@dataclass
class Session:
    """One reader in one folder; `cd` and `export` change the next commands."""

    folder: Path
    environ: dict[str, str]
    capfd: pytest.CaptureFixture[str]
    ran: list[str] = field(default_factory=list)

    def faults(self, page: Page) -> list[str]:
        """Runs all blocks of the page in their order. Returns a sentence, with the output, for each command that fails."""
        found = []
        for fence in page.fences():
            if fence.file:
                found += self.written(page, fence, fence.file)
                continue
            for command in commands(fence):
                if fault := self.fault(command):
                    found.append(f"{page.name}:{command.line}: {command.text}\n{fault}")
        return found

    def written(self, page: Page, fence: Fence, name: str) -> list[str]:
        """Writes a block to the file that it names; a block that shows a file of the repository must be equal to it."""
        if (REPOSITORY / name).is_file():
            same = (REPOSITORY / name).read_text() == fence.content
            return [] if same else [f"{page.name}:{fence.line}: this is not what {name} holds: copy the file"]
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(fence.content)
        return []

    def fault(self, command: Command) -> str | None:
        if command.marked:
            return None
        if OUTSIDE.search(command.text):
            return "  it needs a network or a cluster: say so in a comment, `# needs a network`"
        try:
            done = self.run(command.text)
        except subprocess.TimeoutExpired:
            return f"  takes more than {SECONDS} seconds"
        output = done.stdout + done.stderr
        short = "\n".join(f"  {line}" for line in output.splitlines()[-30:])
        if "Traceback (most recent call last)" in output:
            return f"  a traceback:\n{short}"
        if command.comment.startswith("refused") and done.returncode != 1:
            return f"  is not refused, exit code {done.returncode}:\n{short}"
        if done.returncode and not (command.may_fail and done.returncode == 1):
            return f"  exit code {done.returncode}:\n{short}"
        for chunk in chunks(command.shown):
            if not any(contains(stream, chunk) for stream in (done.stdout, done.stderr)):
                return "  does not print\n" + "\n".join(f"  | {line}" for line in chunk) + f"\n  but\n{short}"
        return None

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Runs a command by the rules above."""
        variables, words = assigned(split(text))
        if words[:1] == ["make"]:
            return self.shell(shlex.join(["make", "-n", "-C", str(REPOSITORY), *words[1:]]))
        if words[:1] == ["pytest"] or words[1:3] == ["-m", "pytest"]:
            return files_of_pytest(words)
        if words[:1] == ["python"] and re.fullmatch(r"benchmarks/\w+\.py", words[1] if words[1:] else ""):
            return self.flags(words)
        text = shortened(text)
        self.ran.append(text)
        if words[:1] == ["ltrun"] and not needs_shell(text):
            return self.ltrun(assigned(split(text))[1][1:], variables)
        return self.shell(text)

    def shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """Runs a command by bash, which prints its last folder and its variables."""
        state = self.folder.parent / "state"
        keeps = f"trap 'code=$?; {{ pwd; env -0; }} > {shlex.quote(str(state))}; exit $code' EXIT\n"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", keeps + text],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        place, _, variables = state.read_text().partition("\n")
        self.folder = Path(place)
        self.environ = dict(entry.split("=", 1) for entry in variables.split("\0") if entry)
        return done

    def ltrun(self, words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Runs a command of ltrun in this process, which saves the imports of a new one."""
        self.capfd.readouterr()
        with in_place(self.folder, self.environ | variables), patch.object(sys, "argv", ["ltrun", *words]):
            code = exit_code(words)
        output, errors = self.capfd.readouterr()
        return subprocess.CompletedProcess(["ltrun", *words], code, output, errors)

    def flags(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        done = self.shell(shlex.join([words[0], str(REPOSITORY / words[1]), "--help"]))
        if not done.stdout:
            return self.shell(f"(cd {shlex.quote(str(REPOSITORY))} && {shlex.join(words)})")
        unknown = [word for word in words[2:] if word.startswith("--") and word.split("=")[0] not in done.stdout]
        return subprocess.CompletedProcess(words, done.returncode or bool(unknown), done.stdout, f"unknown flags: {unknown}\n")


def exit_code(words: list[str]) -> int:
    """Runs ltrun in this process. Returns the exit code that a process of its own would have."""
    try:
        return dispatch(words)
    except SystemExit as ended:  # argparse ends with 2 for a word that it does not know, with 0 after a help
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:
        traceback.print_exc()
        return 1


def files_of_pytest(words: list[str]) -> subprocess.CompletedProcess[str]:
    missing = [word for word in words if "/" in word and not (REPOSITORY / word.split("::")[0]).exists()]
    return subprocess.CompletedProcess(words, bool(missing), "", f"no such files: {missing}\n")


def chunks(shown: Sequence[str]) -> list[list[str]]:
    """Splits expected output at `...` into chunks of consecutive lines."""
    found: list[list[str]] = [[]]
    for line in shown:
        found = [*found, []] if line.strip() == "..." else [*found[:-1], [*found[-1], line]]
    return [chunk for chunk in found if any(line.strip() for line in chunk)]


def contains(output: str, chunk: Sequence[str]) -> bool:
    """Whether the lines are consecutive in the output; ignores space around them."""
    wanted, lines = [line.strip() for line in chunk], [line.strip() for line in output.splitlines()]
    while not wanted[-1]:
        wanted.pop()
    while not wanted[0]:
        wanted.pop(0)
    return any(lines[i : i + len(wanted)] == wanted for i in range(len(lines)))


@contextlib.contextmanager
def in_place(folder: Path, environ: dict[str, str]) -> Iterator[None]:
    """Gives this process a folder, an environment and a PYTHONPATH; on leaving, removes modules imported from the folder."""
    paths = [str(folder / path) for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    before = set(sys.modules)
    with patch.dict(os.environ, environ, clear=True), contextlib.chdir(folder), patch.object(sys, "path", [*paths, *sys.path]):
        try:
            yield
        finally:
            logging.getLogger("ltrun").handlers.clear()  # they write to a stream that is closed now
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
                    del sys.modules[name]
