"""What a renderer may see of the machine: the system, the scene's folder, its scratch folder, nothing else.

Scenes are foreign input, and neither Blender's auto-run switch nor Debian's povray.conf holds, so renderers
run in bubblewrap wherever it works. Without it the renderer still gets a clean environment and an empty home.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from renderfarm.model import Sandbox, Work

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/sys")
SETTINGS = (
    "/etc/OpenCL",
    "/etc/alternatives",
    "/etc/drirc",
    "/etc/egl",
    "/etc/fonts",
    "/etc/glvnd",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/povray",
    "/etc/vulkan",
)
"""what renderers read of /etc; the rest holds keys and passwords"""
DEVICES = ("/dev/dri", "/dev/kfd", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-modeset")


@functools.cache
def obstacle() -> str:
    """Why bubblewrap can't be used here; empty when it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    trial = subprocess.run(
        ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if trial.returncode == 0 else f"bubblewrap does not work here: {trial.stderr.strip()[:200]}"


def wanted(choice: Sandbox) -> bool:
    """Whether to use bubblewrap; with `require` it is used even where it can't work, and fails."""
    return choice is Sandbox.REQUIRE or (choice is Sandbox.AUTO and not obstacle())


def command(argv: Sequence[str], work: Work, cwd: Path, readable: Sequence[Path]) -> list[str]:
    """argv inside bubblewrap: no network, no home, everything read-only but the scratch folder."""
    return [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        *_mounts(work, readable),
        "--chdir",
        str(cwd),
        "--",
        *argv,
    ]


def _mounts(work: Work, readable: Sequence[Path]) -> Iterator[str]:
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.exists():
            yield from ("--ro-bind", name, name)
    for name in SETTINGS:
        yield from ("--ro-bind-try", name, name)
    yield from ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")  # noqa: S108 - the sandbox's own
    for name in DEVICES:
        yield from ("--dev-bind-try", name, name)
    for path in [*_project(Path(work.scene)), Path(work.build.path).resolve().parent, *readable]:
        yield from ("--ro-bind-try", str(path), str(path))
    for name in work.readable:
        yield from ("--ro-bind-try", name, name)
    yield from ("--bind", work.scratch, work.scratch)


def _project(scene: Path) -> list[Path]:
    """The scene's folder (only the file where that is a home or the root), and what a link points to."""
    home = Path.home()
    folder = scene.parent
    shown = scene if folder == home or folder in home.parents else folder
    return [shown, scene.resolve()]


def shows(work: Work, path: Path) -> bool:
    """Whether a renderer in the sandbox can see this file."""
    roots = [*_project(Path(work.scene)), *map(Path, SYSTEM), *map(Path, work.readable), Path(work.scratch)]
    return any(path == root or root in path.parents for root in roots)
