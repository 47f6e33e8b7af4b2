"""The environment .venv of a checkout: announces the cost of each step, and repairs an interrupted installation.

    python scripts/make_venv.py [--torch BUILD] [--tools]

make runs this script with the Python for .venv. pip's whole output is kept in .venv/pip.log.
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
INDEX = "https://download.pytorch.org/whl/"
CUDA_GB, CPU_GB, TOOLS_GB = 6.0, 1.5, 0.4  # disk space, measured with torch 2.13 and 2.14, Linux on x86_64
DOWNLOADS = {CUDA_GB: 3.2, CPU_GB: 0.4}  # GB downloaded for each
LARGE = 10.0  # MB: a larger download gets a line of output
DOWNLOAD = re.compile(r"Downloading (?:\S*/)?([\w.]+?)-(\d[^-]*)-\S*\.whl \(([\d.]+) MB\)")

setup = ConfigParser()
setup.read(ROOT / "setup.cfg")
OLDEST, BEYOND = (int(minor) for minor in re.findall(r"3\.(\d+)", setup["options"]["python_requires"]))
if not (3, OLDEST) <= sys.version_info[:2] < (3, BEYOND):  # before the annotations below: an old Python cannot evaluate them
    names = ["python3.%d" % minor for minor in range(BEYOND - 1, OLDEST - 1, -1)]  # noqa: UP031
    others = [name for name in names if shutil.which(name) and not subprocess.call([name, "-c", ""], stderr=subprocess.DEVNULL)]
    way = "make run PYTHON=" + others[0] if others else "install one, and name it: make run PYTHON=" + names[0]
    sys.exit(
        "ltrun needs Python 3.%d to 3.%d, and %s is Python %s.\nThe way out: %s"  # noqa: UP031
        % (OLDEST, BEYOND - 1, sys.executable, platform.python_version(), way)
    )


class Refusal(Exception):
    """A failure that the user can fix, as a sentence with the way out."""


# ---------------------------------------------------------------------------------------------------------- the machine


def on_cuda() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return Path("/proc/driver/nvidia/version").exists() or bool(shutil.which("nvidia-smi"))


def offers_cpu_build(url: str) -> bool:
    """Whether a package index offers, in one try of four seconds, a torch for this Python and processor.

    A child process asks, because this process could not limit the time of looking up the host's name.
    """
    ask = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=3).read(9_000_000))"
    try:
        done = subprocess.run([sys.executable, "-c", ask, url], capture_output=True, timeout=4)
    except subprocess.TimeoutExpired:
        return False
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    wheel = rf"torch-[^\s\"<>]+-{tag}-{tag}-[^\s\"<>]*linux[^\s\"<>]*_{platform.machine()}\.whl"
    return done.returncode == 0 and re.search(wheel, done.stdout.decode(errors="replace")) is not None


def costs(torch: str | None, system: str) -> float:
    """Gigabytes of disk for an environment without tools. PyPI's torch for Linux includes the CUDA libraries."""
    return CPU_GB if torch == "cpu" or (torch is None and system != "Linux") else CUDA_GB


def refuse_a_full_disk(needed: float, folder: Path, way_out: str = "") -> None:
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise Refusal(f"{needed:.1f} GB are needed in {folder}, and {free:.1f} GB are free. Make room{way_out}.")


def refuse_without_venv() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"python3.{sys.version_info[1]}"
        raise Refusal(
            f"{sys.executable} lacks the modules venv and ensurepip, which create environments. "
            f"On Debian and Ubuntu: apt install {version}-venv. Elsewhere name another Python: make run PYTHON=..."
        )


# -------------------------------------------------------------------------------------------------------- the environment


def mend(venv: Path) -> list[str]:
    """Removes half-installed packages of an interrupted pip: those without RECORD, which pip writes last, or with a tilde.

    Returns the removed names. pip would consider such a package installed.
    """
    halves = [info for info in venv.glob("lib/python3.*/site-packages/*.dist-info") if not (info / "RECORD").exists()]
    halves += venv.glob("lib/python3.*/site-packages/~*")
    for half in halves:
        shutil.rmtree(half)
    return [half.name for half in halves]


def create(venv: Path) -> None:
    """Creates the environment, or completes a partial one, with a working pip. Raises Refusal if it has another Python."""
    python = venv / "bin" / "python"
    version = _says(python, "-c", "import sys; print(*sys.version_info[:2], sep='.')")
    wanted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version not in (None, wanted):
        raise Refusal(f"{venv} has Python {version}, and make was given Python {wanted}. Remove it, and try again: rm -r .venv")
    for name in mend(venv):
        print(f"  removed {name}, which was half installed")
    if _says(python, "-m", "pip", "--version") is None:
        for half in [path for name in ("pip", "pip-*") for path in venv.glob(f"lib/python3.*/site-packages/{name}")]:
            shutil.rmtree(half)  # ensurepip would consider pip installed
        words = ["--clear"] if venv.exists() and version is None else []
        done = subprocess.run([sys.executable, "-m", "venv", *words, str(venv)], capture_output=True, text=True)
        if done.returncode:
            raise Refusal(f"{venv} could not be created:\n{(done.stdout + done.stderr).strip()}")


def _says(*command: str | Path) -> str | None:
    """The output of a command; None if the command cannot run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# -------------------------------------------------------------------------------------------------------------------- pip


def digest(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yields a summary of pip's output: (text, whether the text stays on the screen)."""
    package = ""
    for line in map(str.strip, lines):
        download, progress = DOWNLOAD.match(line), re.match(r"Progress (\d+) of (\d+)$", line)
        if download and float(download[3]) >= LARGE:
            package = f"{download[1]} {download[2]}"
            yield f"downloading {package}, {float(download[3]):.0f} MB", True
        elif progress and package and int(progress[2]) >= LARGE * 1e6:
            yield f"{package}: {int(progress[1]) / 1e6:.0f} of {int(progress[2]) / 1e6:.0f} MB", False
        elif line.startswith("Installing collected packages: "):
            yield f"unpacking {line.count(',') + 1} packages: up to two minutes", True
        elif re.match(r"(ERROR|error):|WARNING: Retrying", line):
            yield line, True
        elif line.startswith(("Collecting ", "Processing ", "Preparing ", "Building ")):
            yield line.lower(), False


def pip(venv: Path, *words: str) -> None:
    """Runs pip install and shows its progress in short. Raises Refusal with the reason of a failure."""
    python, log = str(venv / "bin" / "python"), venv / "pip.log"
    raw = ["--progress-bar", "raw"] if _tells_progress(venv) else []
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", *raw, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT
    ) as done:
        assert done.stdout is not None
        with log.open("w", encoding="utf-8") as kept:
            show(digest(_kept(done.stdout, kept.write)))
    if done.returncode:
        raise Refusal(_reason(log))


def _tells_progress(venv: Path) -> bool:
    """Whether the environment's pip can write the progress of a download to a pipe (24.1 or later)."""
    return "raw" in (_says(venv / "bin" / "python", "-m", "pip", "install", "--help") or "")


def _kept(lines: Iterable[str], write: Callable[[str], object]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("Progress "):
            write(line)
        yield line


def show(texts: Iterable[tuple[str, bool]]) -> None:
    """Prints texts that stay on the screen; on a terminal also the other texts, each overwritten by the next."""
    screen = sys.stdout.isatty()
    clear = "\r\x1b[K" if screen else ""
    try:
        for text, lasting in texts:
            if lasting:
                print(f"{clear}  {text}", flush=True)
            elif screen:
                print(f"{clear}  {text[: shutil.get_terminal_size().columns - 4]}", end="", flush=True)
    finally:
        print(clear, end="", flush=True)


def _reason(log: Path) -> str:
    """The reason of pip's failure, with the way out."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No space left" in text:
        folder = tempfile.gettempdir()
        return (
            f"the disk of {ROOT} or of {folder}, where pip unpacks, is full. Make room, or unpack in another folder: "
            "TMPDIR=/folder/with/room make run. Finished steps are kept."
        )
    return f"pip could not install it; the last lines above say why, and {log} has all. The same command resumes from here."


# ------------------------------------------------------------------------------------------------------------------- main


def install(torch: str | None, tools: bool) -> None:
    if tools:
        say(f"adding the tools for tests and documents to .venv: a minute, {TOOLS_GB:.1f} GB")
        return pip(VENV, "--editable", ".[dev]")
    refuse_without_venv()
    gigabytes = costs(torch, platform.system())
    there = any(VENV.glob("lib/python3.*/site-packages/torch/__init__.py"))
    if not there:
        if torch is None and gigabytes > CPU_GB and not on_cuda() and offers_cpu_build(f"{INDEX}cpu/torch/"):
            say(f"there is no NVIDIA driver here; make run TORCH=cpu takes {CPU_GB:.1f} GB instead of {CUDA_GB:.0f}")
            refuse_a_full_disk(gigabytes, ROOT, ", or run: make run TORCH=cpu")
        refuse_a_full_disk(gigabytes, ROOT)
    say(f"{'completing' if VENV.exists() else 'creating'} .venv: ten seconds")
    create(VENV)
    if not _tells_progress(VENV):  # the pip that comes with Python 3.11 and 3.12
        with contextlib.suppress(Refusal):
            pip(VENV, "--upgrade", "--quiet", "--retries", "1", "--timeout", "5", "pip")
    minutes = f"two to ten minutes, {DOWNLOADS[gigabytes]} GB of downloads, {gigabytes} GB of the disk"
    if torch is not None:
        say(f"installing PyTorch's build {torch}, then ltrun, into it: {minutes}")
        pip(VENV, "torch", "torchvision", "--index-url", INDEX + torch)
    else:
        say(
            "installing ltrun beside the installed PyTorch: a minute"
            if there
            else f"installing ltrun and PyTorch into it: {minutes}"
        )
    pip(VENV, "--editable", ".")


def say(text: str) -> None:
    print(f"ltrun: {text}", flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", metavar="BUILD", help="install a build from PyTorch's own index, such as cpu or cu128")
    parser.add_argument("--tools", action="store_true", help="add the tools of the tests to an environment that has ltrun")
    options = parser.parse_args(argv)
    began = time.monotonic()
    try:
        install(options.torch, options.tools)
    except Refusal as refusal:
        print(f"ltrun: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nltrun: interrupted; the same command resumes, with the downloads that pip has kept.", file=sys.stderr)
        return 128 + signal.SIGINT
    size = sum(os.lstat(Path(folder, name)).st_size for folder, _, names in os.walk(VENV) for name in names)
    say(f"installed in {time.monotonic() - began:.0f} seconds; .venv takes {size / 1e9:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
