"""Builds services the way their images are built: the first stage of each Dockerfile, step by step, without Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.house import House
from tests.support.process import ServiceProcess
from tests.unit.deploy.dockerfile import FILES, ROOT, read

IN_IMAGE = "/opt/leadstream"
# MemoryDenyWriteExecute= of the units, by the kernel's own means (Linux 6.3 on): no page is writable and executable.
_UNDER_MDWE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def require_package_index(folder: Path) -> None:
    """Skips the test where pip reaches no package index."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--no-cache-dir", "--retries", "0"]
    done = subprocess.run([*command, "-d", str(folder), "idna"], capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"pip reaches no package index here: {done.stderr.strip().splitlines()[-1]}")


def build(service: str, folder: Path) -> Path:
    """Runs COPY and RUN of the builder stage in an empty folder; returns the interpreter of the environment it made."""
    context, target = folder / "build", folder / "made"
    context.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    for item in read(FILES[service])[0]:
        if item.name == "COPY":
            _copy(item.words, context)
        elif item.name == "RUN":
            command = item.text.replace(IN_IMAGE, str(target))
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=context,
                env={**environment, "PYTHON": sys.executable},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{item.text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return target / "bin" / "python"


def _copy(words: Sequence[str], context: Path) -> None:
    *sources, destination = words
    for source in sources:
        to = context / destination
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to = to / Path(source).name if destination.endswith("/") or destination.endswith(".") else to
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, to)


class Installed(ServiceProcess):
    """A service started by the interpreter of its own environment, as the image's CMD does it."""

    def by(self, python: Path, module: str) -> Installed:
        """Sets what is run."""
        wrapper = [sys.executable, "-I", "-c", _UNDER_MDWE] if sys.platform.startswith("linux") else []
        self._command = [*wrapper, str(python), "-P", "-m", module, *self.args]
        return self


class InstalledHouse(House):
    """The whole house with two mailers, each service from its own environment; `python_of` names it."""

    def __init__(self, folder: Path, python_of: Callable[[str], Path], **env: str) -> None:
        self.python_of = python_of
        super().__init__(folder, mailers=2, appendfsync="always", **env)

    def add(self, name: str, service: str, args: Sequence[str], ready_url: str | None = None) -> None:
        """The same, by the interpreter of the service's own environment."""
        image = "mailer" if service == "fanout" else service
        self.processes[name] = Installed(
            ["fanout"] if service == "fanout" else [],
            env={
                **self.env,
                "LEADSTREAM_API_PORT": str(self.port),
                "LEADSTREAM_HEARTBEAT_FILE": str(self.folder / f"{name}.alive"),
            },
            output=self.folder / f"{name}.log",
            ready_url=ready_url,
            ready_line=None if ready_url else "ready",
            cwd=self.folder,
        ).by(self.python_of(image), f"leadstream_{image}")
