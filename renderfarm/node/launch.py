"""Starts renderers so that none outlives its node: own process group, own home, sandboxed, killable at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from renderfarm.node import sandbox, strays, trace
from renderfarm.node.layer import Layer, layer_over
from renderfarm.renderers import renderer
from renderfarm.renderers.asking import surroundings
from renderfarm.renderers.scratch import appending, family
from renderfarm.words.stamps import ways
from renderfarm.words.work import Work

KERNEL_CACHES = (
    "XDG_CACHE_HOME",
    "CUDA_CACHE_PATH",
    "OPTIX_CACHE_PATH",
    "SYCL_CACHE_DIR",
    "__GL_SHADER_DISK_CACHE_PATH",
)
"""variables that say where Cycles, EEVEE and drivers keep what they compile for a graphics card"""
WRITTEN = "written"
"""folder beside the logs for what scenes wrote"""


class ProcessLauncher:
    """The launcher of one node (see `renderfarm.renderers.Launcher`); `kill` ends all that it started."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._view = sandbox.View(work) if sandbox.wanted(work.sandbox) else None
        self._layer: Layer | None = None
        self._mounts: tuple[str, ...] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._killed = False
        self.trace: trace.Trace | None = None
        """what traced renderers do with files; None where that can't be seen"""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        pipes: bool = False,
        anew: bool = False,
        traced: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a renderer; stdout and stderr are appended to the log."""
        self._processes = [process for process in self._processes if process.poll() is None]
        if anew and self._layer:
            self._layer.clear()
        full = self._sandboxed(argv, cwd) if self._view else [*_tether(), *argv]
        if traced and self._work.traced and not trace.obstacle():
            self.trace = self.trace or self._trace()
            full = [*_tether(), *self.trace.around(full, argv[0], cwd)]
        with appending(log) as output:
            process = subprocess.Popen(
                full,
                cwd=cwd,
                env={**self._environment(), **(environment or {})},
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        if self._killed:  # while this one was being started
            self.kill()
        return process

    def _trace(self) -> trace.Trace:
        work, view = self._work, self._view
        folder = work.scene if view and not view.folder else os.path.dirname(work.scene)  # noqa: PTH120
        roots = {name for path in (folder, *work.named, *work.readable) for name in ways(path)}
        return trace.Trace(sorted(roots), _spared(work), confined=view is not None)

    def _sandboxed(self, argv: Sequence[str], cwd: Path) -> list[str]:
        if self._mounts is None:
            self._mounts = tuple(self._mounted())
        command = sandbox.command(argv, self._mounts, cwd)
        return self._layer.inside(command) if self._layer else command

    def _mounted(self) -> Iterator[str]:
        """What the renderer sees; a scene that may write beside itself writes into a layer of its own."""
        assert self._view  # noqa: S101 - it is asked for only then
        if renderer(self._work.renderer).writes and self._view.folder:
            self._layer = layer_over(self._view.folder, Path(self._work.scratch))
        return self._view.mounts(self._layer.view if self._layer else None)

    def put_away(self) -> None:
        """Keep with the job what scenes wrote beside themselves, and take the layer away."""
        if self._layer and self._work.logs:
            self._layer.keep(Path(self._work.logs).parent / WRITTEN / Path(self._work.scratch).name)
        if self._layer:
            self._layer.remove()
        self._layer = self._mounts = None
        if self.trace:
            self.trace.close()

    def _environment(self) -> dict[str, str]:
        """A clean environment: the user's preferences and add-ons must not leak in."""
        home = Path(self._work.scratch) / "home"
        temporary = Path(self._work.scratch) / "tmp"
        for folder in (home, temporary):
            folder.mkdir(exist_ok=True)
        kept = dict.fromkeys(KERNEL_CACHES, str(cache)) if (cache := sandbox.kernels()) else {}
        return surroundings(strays.VARIABLE, HOME=str(home), TMPDIR=str(temporary), **kept)

    def kill(self) -> None:
        """Kill every process that was started, and all that those started; nothing else will live."""
        self._killed = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def resident_bytes(self) -> int:
        """Resident memory of all living renderer processes (0 where there is no /proc)."""
        living = (process.pid for process in self._processes if process.returncode is None)
        return sum(_resident(pid) for first in living for pid in family(first))


def _spared(work: Work) -> list[str]:
    """What is no input of frames, or known without looking. A program may lie above the project, in a home."""
    folders = renderer(work.build.renderer).installation(work.build)
    apart = [str(folder) for folder in folders if not Path(work.scene).is_relative_to(folder)]
    kept = [str(folder)] if (folder := sandbox.kernels()) else []
    return [*work.copies, *work.copies.values(), *apart, *kept, work.build.path, work.scratch]


def _tether() -> list[str]:
    """A prefix that makes the kernel kill the renderer when the node dies (bubblewrap has its own)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _resident(pid: int) -> int:
    """Resident bytes of a process (proc(5): statm counts pages)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
