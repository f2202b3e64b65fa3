"""What a node gets from its distribution: Debian's and Ubuntu's packages, by apt-get, patiently."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from renderfarm.queues.azure.on_node.exits import FAILED, Exit

SANDBOX = ("bubblewrap",)
TRIES = 3
PAUSE_SECONDS = 15.0
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")
_RESTRICTION = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_PROFILE = Path("/etc/apparmor.d/renderfarm-bwrap")
_PROFILE_TEXT = """\
abi <abi/4.0>,
include <tunables/global>

profile renderfarm-bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
}
"""
_LOG = logging.getLogger(__name__)


def install(names: Sequence[str]) -> None:
    """Install what is not there yet, files (`./x.deb`) included; raises Exit with apt-get's last words."""
    missing = [name for name in names if name.startswith("./") or not _is_installed(name)]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        hint = "Choose an image of Ubuntu or Debian, or one that has all that is needed."
        raise Exit(FAILED, f"This image lacks {', '.join(missing)} and has no apt-get.", hint)
    _LOG.info("Installing %s.", ", ".join(missing))
    said = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS * attempt)
        said = _apt("update") or _apt("install", "-y", "--no-install-recommends", *missing)
        if not said:
            return
    hint = "Look whether the pool's network lets nodes reach their distribution, or use a container image."
    raise Exit(FAILED, f"{', '.join(missing)} can't be installed: {said}", hint)


def allow_sandbox() -> None:
    """Let renderers be sandboxed where Ubuntu (from 24.04 on) keeps that from ordinary users; needs root."""
    try:
        restricted = _RESTRICTION.read_text().strip() == "1"
    except OSError:
        return
    if not restricted or os.geteuid() or shutil.which("apparmor_parser") is None:
        return
    _PROFILE.write_text(_PROFILE_TEXT)
    done = subprocess.run(["apparmor_parser", "-r", str(_PROFILE)], capture_output=True, text=True, check=False)
    if done.returncode:
        _LOG.info("Renderers run without a sandbox: %s", done.stderr.strip())


def _is_installed(name: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    # Ubuntu 24.04 renamed some libraries; what provides the old name counts.
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}\\n", name, f"{name}t64"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "installed" in done.stdout.split()


def _apt(*arguments: str) -> str:
    """Run apt-get; empty, or what went wrong."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        [*_APT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("E:")] or lines[-1:]
    return telling[0] if telling else f"apt-get ended with {done.returncode}"
