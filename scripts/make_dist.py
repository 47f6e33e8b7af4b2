"""The sdist and the wheel of a release: builds both into dist/, checks them, and tries the wheel as a new user would.

    python scripts/make_dist.py

The wheel is installed into a fresh environment, which sees only the packages that ltrun requires, no tool and no checkout, so
a requirement missing from setup.cfg fails here. The packages are linked from the Python that runs this script, so nothing
large is downloaded. Commands then run in an empty folder with an empty home; the first failure ends the script.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath
from zipfile import Path as Member
from zipfile import ZipFile

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
BUILD, DIST = ROOT / "build", ROOT / "dist"
TOOLS = BUILD / "tools"
TRIED = (
    "ltrun --version",
    "ltrun --help",
    "ltrun methods",
    "ltrun method=balanced_softmax dataset=digits_lt epochs=2 runtime.device=cpu",
    "ltrun report",
)


# --------------------------------------------------------------------------------------------------------------- contents


def expected(root: Path) -> set[str]:
    """The files that a checkout's wheel must hold below ltrun/: all that git has.

    Without git, as in an sdist: all but the user's own settings and caches.
    """
    found, strange = set(), untracked(root)
    for folder, below in ((root / "ltrun", "ltrun"), (root / "conf", "ltrun/conf")):
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if (
                path.is_file()
                and path.relative_to(root).as_posix() not in strange
                and "__pycache__" not in inside.parts
                and not (below == "ltrun/conf" and inside.parts[0] == "local")
            ):
                found.add(str(PurePosixPath(below, *inside.parts)))
    return found


def untracked(root: Path) -> set[str]:
    """Files of ltrun/ and conf/ that git does not have; none where there is no git."""
    command = ["git", "ls-files", "-z", "--others", "--", "ltrun", "conf"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    except OSError:
        return set()
    return set(done.stdout.split("\0")) if done.returncode == 0 else set()


def faults(wheel: Path, files: set[str]) -> list[str]:
    """The missing and the surplus files of a wheel, one sentence each. files: the names that it must hold."""
    with ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if not re.match(r"ltrun-[^/]+\.dist-info/", name)}
    return [
        f"{wheel.name} lacks {name}: add it to the package data in setup.cfg, or remove it" for name in sorted(files - held)
    ] + [
        f"{wheel.name} holds {name}, which does not belong to the package: add it to git, or remove it"
        for name in sorted(held - files)
    ]


def differences(one: Path, other: Path) -> list[str]:
    """The names of the files that differ between two wheels."""
    with ZipFile(one) as first, ZipFile(other) as second:
        names = {*first.namelist(), *second.namelist()}
        both = {*first.namelist()} & {*second.namelist()}
        return sorted(name for name in names if name not in both or first.read(name) != second.read(name))


# ------------------------------------------------------------------------------------------------------------ environments


def required(wheel: Path) -> dict[str, metadata.Distribution]:
    """The distributions that a wheel requires, directly or not, by name; extras only if a requirement names them."""
    (info,) = (member for member in Member(wheel).iterdir() if member.name.endswith(".dist-info"))
    waiting: list[tuple[metadata.Distribution, set[str]]] = [(metadata.PathDistribution(info), set())]
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        distribution, extras = waiting.pop()
        for requirement in map(Requirement, distribution.requires or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                known = requirement.name in found
                found.setdefault(requirement.name, metadata.distribution(requirement.name))
                if not known or requirement.extras:
                    waiting.append((found[requirement.name], requirement.extras))
    return found


def link(distributions: Iterable[metadata.Distribution], folder: Path) -> None:
    """Links the modules of distributions into a folder, to import them from there."""
    for distribution in distributions:
        for file in distribution.files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))


# ------------------------------------------------------------------------------------------------------------------- steps


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None, quiet: bool = True) -> str:
    """Runs a command and returns its output; if the command fails, prints the output and ends the script."""
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode or not quiet:
        print(done.stdout.rstrip(), flush=True)
    if done.returncode:
        sys.exit(f"make dist: exit code {done.returncode} of {shlex.join(map(str, command))}")
    return done.stdout


def say(text: str) -> None:
    print(f"make dist: {text}", flush=True)


def build() -> Path:
    """Builds the sdist and the wheel of the working tree into dist/; returns the wheel."""
    python = TOOLS / "bin" / "python"
    if not (TOOLS / "bin" / "twine").exists():
        say("installing build and twine into build/tools (half a minute)")
        run(sys.executable, "-m", "venv", TOOLS)
        run(python, "-m", "pip", "install", "--quiet", "build", "twine")
    for stale in (DIST, BUILD / "lib", BUILD / "of_tree"):  # build/lib would put deleted modules into the wheel
        shutil.rmtree(stale, ignore_errors=True)
    say("building the sdist, and the wheel from the sdist")
    run(python, "-m", "build", "--outdir", DIST, ROOT)
    say("building the wheel from the tree, which must be the same")
    run(python, "-m", "build", "--wheel", "--outdir", BUILD / "of_tree", ROOT)
    (wheel,) = DIST.glob("*.whl")
    if found := differences(wheel, BUILD / "of_tree" / wheel.name):
        sys.exit(f"make dist: the wheel of the sdist and the wheel of the tree differ in {', '.join(found)}")
    if found := faults(wheel, expected(ROOT)):
        sys.exit("make dist: " + "\nmake dist: ".join(found))
    say("twine check")
    run(python, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()), quiet=False)
    return wheel


def try_out(wheel: Path, scratch: Path) -> None:
    """Installs the wheel outside the checkout and runs commands with it, as a new user would."""
    say(f"installing {wheel.name} into an environment that sees only its requirements")
    environment, home, work = scratch / "venv", scratch / "home", scratch / "work"
    home.mkdir()
    work.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (others := scratch / "others").mkdir()
    link(required(wheel).values(), others)
    (packages / "others.pth").write_text(f"{others}\n")
    plain = {"HOME": str(home), "PATH": f"{environment / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"}
    pip = (TOOLS / "bin" / "python", "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, env=plain)
    run(*pip, "check", env=plain)
    file = run(python, "-c", "import ltrun; print(ltrun.__file__)", cwd=work, env=plain).strip()
    if not Path(file).is_relative_to(packages):
        sys.exit(f"make dist: {file} was imported instead of the wheel")
    for command in TRIED:
        say(command)
        run(*shlex.split(command), cwd=work, env=plain, quiet=command in ("ltrun --help", "ltrun methods"))
    if left := sorted(path.name for path in work.iterdir() if path.name != "outputs"):
        sys.exit(f"make dist: the commands left {', '.join(left)} in the folder where they ran")


def main() -> int:
    wheel = build()
    with tempfile.TemporaryDirectory(prefix="ltrun-dist-") as scratch:
        os.environ.pop("PYTHONPATH", None)
        try_out(wheel, Path(scratch))
    say(f"{', '.join(sorted(path.name for path in DIST.iterdir()))} are in dist/ and work")
    return 0


if __name__ == "__main__":
    sys.exit(main())
