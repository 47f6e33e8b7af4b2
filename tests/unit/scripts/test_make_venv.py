"""The script that makes .venv: early refusals, repair of an interrupted installation, pip's output in short."""

from __future__ import annotations

import http.server
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import make_venv
import pytest

from tests.support.tree import ROOT

TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
HERE = f"torch-2.9.0%2Bcpu-{TAG}-{TAG}-manylinux_2_28_{platform.machine()}.whl"
ELSEWHERE = f"torch-2.9.0%2Bcpu-cp38-cp38-manylinux_2_28_{platform.machine()}.whl"


# ------------------------------------------------------------------------------------------------------------ the machine


@contextmanager
def index(page: str, code: int = 200, delay: float = 0.0) -> Iterator[str]:
    """Serves one page as a package index on this machine; yields its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            closed.wait(delay)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None: ...

    closed = threading.Event()
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client has gone
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/whl/cpu/torch/"
    finally:
        closed.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("page", "code", "offered"),
    [
        (f'<a href="/whl/cpu/{HERE}#sha256=0">torch</a>', 200, True),
        (f'<a href="/whl/cpu/{ELSEWHERE}#sha256=0">torch</a>', 200, False),
        (f'<a href="/whl/cpu/{HERE}#sha256=0">torch</a>', 403, False),
        ("please log in to this network", 200, False),
    ],
    ids=["for-this-python", "for-another-python", "forbidden", "another-page"],
)
def test_the_cpu_build_is_offered_if_its_index_has_a_wheel_for_this_python(
    page: str, code: int, offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with index(page, code) as url:
        assert make_venv.offers_cpu_build(url) is offered


def test_an_index_that_does_not_answer_costs_four_seconds_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    began = time.monotonic()
    with index("", delay=60) as url:
        assert make_venv.offers_cpu_build(url) is False
    assert make_venv.offers_cpu_build("http://127.0.0.1:9/whl/cpu/torch/") is False  # refused
    assert time.monotonic() - began < 55, "it has waited for the answer"
    assert capfd.readouterr() == ("", "")


def test_an_unsupported_python_is_refused_before_anything_is_made() -> None:
    for version in ((3, 6, 15), (3, 10, 13), (3, 14, 0)):
        pretend = (
            f"import runpy, sys; sys.version_info = {version}; runpy.run_path({make_venv.__file__!r}, run_name='__main__')"
        )
        done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
        assert done.returncode == 1
        assert "needs Python 3.11 to 3.13" in done.stderr and "make run PYTHON=" in done.stderr
        assert "Traceback" not in done.stderr and done.stdout == ""


def test_a_python_without_venv_is_refused_with_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_venv.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(make_venv.Refusal, match=rf"apt install python3\.{sys.version_info[1]}-venv"):
        make_venv.refuse_without_venv()


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    make_venv.refuse_a_full_disk(0.0, tmp_path)
    with pytest.raises(make_venv.Refusal, match=r"GB are needed in .*, and \d+\.\d GB are free"):
        make_venv.refuse_a_full_disk(1e9, tmp_path)


@pytest.mark.parametrize(
    ("torch", "system", "gigabytes"),
    [
        (None, "Linux", make_venv.CUDA_GB),
        ("cu128", "Linux", make_venv.CUDA_GB),
        ("cpu", "Linux", make_venv.CPU_GB),
        (None, "Darwin", make_venv.CPU_GB),
    ],
)
def test_the_disk_space_of_an_environment_depends_on_its_torch_build(torch: str | None, system: str, gigabytes: float) -> None:
    assert make_venv.costs(torch, system) == gigabytes


# -------------------------------------------------------------------------------------------------------- the environment


def test_half_installed_packages_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """pip writes RECORD last, and considers a package installed if it finds METADATA."""
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("whole-1.0.dist-info", "half-1.0.dist-info", "~umpy", "whole", "half"):
        (packages / name).mkdir(parents=True)
        (packages / name / "METADATA").touch()
    (packages / "whole-1.0.dist-info" / "RECORD").touch()
    assert sorted(make_venv.mend(tmp_path)) == ["half-1.0.dist-info", "~umpy"]
    assert sorted(path.name for path in packages.iterdir()) == ["half", "whole", "whole-1.0.dist-info"]
    assert make_venv.mend(tmp_path) == []


@pytest.mark.slow
def test_an_environment_is_made_completed_and_refused_if_it_has_another_python(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    make_venv.create(venv)
    python = venv / "bin" / "python"
    assert make_venv._says(python, "-m", "pip", "--version") is not None
    shutil.rmtree(next(venv.glob("lib/python3.*/site-packages/pip")))  # as an interrupted installation leaves it
    (venv / "mine").touch()
    make_venv.create(venv)  # completes it
    assert make_venv._says(python, "-m", "pip", "--version") is not None
    assert (venv / "mine").exists(), "other files must stay"
    python.unlink()
    python.write_text("#!/bin/sh\necho 3.10\n")
    python.chmod(0o755)
    with pytest.raises(make_venv.Refusal, match=r"has Python 3\.10, .* rm -r .venv"):
        make_venv.create(venv)


# -------------------------------------------------------------------------------------------------------------------- pip

PIP = """\
Obtaining file:///home/me/ltrun
  Preparing editable metadata (pyproject.toml): started
Collecting torch>=2.6 (from ltrun==0.1.0)
  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)
Collecting rich (from ltrun==0.1.0)
  Downloading rich-15.0.0-py3-none-any.whl (243 kB)
Downloading https://files.example/packages/torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (555.3 MB)
Progress 8192 of 555300000
Progress 300000000 of 555300000
Downloading sympy-1.14.0-py3-none-any.whl (6.3 MB)
Progress 10 of 6300000
WARNING: Retrying (Retry(total=4)) after connection broken
Installing collected packages: mpmath, sympy, rich, torch, ltrun
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""


def test_large_downloads_and_errors_of_pip_stay_on_the_screen() -> None:
    shown = list(make_venv.digest(PIP.splitlines(keepends=True)))
    assert [text for text, lasting in shown if lasting] == [
        "downloading torch 2.14.1, 555 MB",
        "WARNING: Retrying (Retry(total=4)) after connection broken",
        "unpacking 5 packages: up to two minutes",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ]
    assert [text for text, lasting in shown if not lasting] == [
        "preparing editable metadata (pyproject.toml): started",
        "collecting torch>=2.6 (from ltrun==0.1.0)",
        "collecting rich (from ltrun==0.1.0)",
        "torch 2.14.1: 0 of 555 MB",
        "torch 2.14.1: 300 of 555 MB",
    ]


@pytest.mark.parametrize(
    ("fails_with", "sentence"),
    [
        ("[Errno 28] No space left on device", "TMPDIR="),
        ("No matching distribution found", r"pip\.log has all\. The same command"),
        (f"Looking in indexes: {make_venv.INDEX}nonsense", r"has all\. https://\S+ lists the builds that TORCH= may name"),
    ],
)
def test_a_failure_of_pip_is_explained_in_a_sentence(
    fails_with: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f"#!/bin/sh\ncase \"$*\" in *--help*) exit 0;; esac\necho 'ERROR: {fails_with}' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(make_venv.Refusal, match=sentence):
        make_venv.pip(tmp_path, "anything")
    assert f"ERROR: {fails_with}" in capsys.readouterr().out
    assert fails_with in (tmp_path / "pip.log").read_text()


# ------------------------------------------------------------------------------------------------------------------- make


def test_make_run_installs_no_tools_and_make_lint_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(make_venv, "VENV", tmp_path)
    monkeypatch.setattr(make_venv, "pip", lambda venv, *words: asked.append(words))
    monkeypatch.setattr(make_venv, "create", lambda venv: None)
    monkeypatch.setattr(make_venv, "_tells_progress", lambda venv: True)
    monkeypatch.setattr(make_venv, "offers_cpu_build", lambda url: False)
    monkeypatch.setattr(make_venv, "refuse_a_full_disk", lambda *_: None)
    assert make_venv.main([]) == 0
    assert asked == [("--editable", ".")]
    assert "TORCH=cpu" not in capsys.readouterr().out, "an index that does not answer is not mentioned"
    assert make_venv.main(["--torch", "cpu"]) == 0
    assert asked[1:] == [("torch", "torchvision", "--index-url", f"{make_venv.INDEX}cpu"), ("--editable", ".")]
    assert "1.5 GB of the disk" in capsys.readouterr().out
    assert make_venv.main(["--tools"]) == 0
    assert asked[-1] == ("--editable", ".[dev]")


def test_make_names_a_missing_python_and_the_way_out(tmp_path: Path) -> None:
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(["make", "run", "PYTHON=python3.99"], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert done.returncode == 2
    sentence, _ = done.stderr.splitlines()
    assert sentence.startswith("ltrun: no command python3.99 here. ") and "make run PYTHON=" in sentence
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("driver", "offered", "named"), [(False, True, True), (False, False, False), (True, True, False)])
def test_the_cpu_build_is_suggested_without_a_driver_if_it_is_offered(
    driver: bool,
    offered: bool,
    named: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(make_venv, "VENV", tmp_path)
    monkeypatch.setattr(make_venv, "on_cuda", lambda: driver)
    monkeypatch.setattr(make_venv, "offers_cpu_build", lambda url: offered)
    monkeypatch.setattr(make_venv.platform, "system", lambda: "Linux")
    monkeypatch.setattr(make_venv, "CUDA_GB", 1e9)
    monkeypatch.setattr(make_venv, "DOWNLOADS", {1e9: 1.0})
    assert make_venv.main([]) == 1, "no disk is that large"
    shown = capsys.readouterr()
    assert ("make run TORCH=cpu" in shown.out) is ("make run TORCH=cpu" in shown.err) is named
    assert "GB are free" in shown.err and list(tmp_path.iterdir()) == []
