"""What a renderer may see of the machine: the system, the scene's folder, its scratch folder, nothing else.

Scenes are foreign input, and neither Blender's auto-run switch nor Debian's povray.conf holds, so renderers
run in bubblewrap wherever it works. Without it the renderer still gets a clean environment and an empty home.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from renderfarm.job.home import farm_home
from renderfarm.node.guard import Guard, is_below
from renderfarm.renderers import asking, renderer
from renderfarm.words.devices import devices
from renderfarm.words.request import Sandbox
from renderfarm.words.stamps import ways
from renderfarm.words.work import Work

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/sys")
SETTINGS = tuple(
    f"/etc/{name}" for name in (
        "OpenCL", "alternatives", "drirc", "egl", "fonts", "glvnd", "group", "ld.so.cache", "localtime",
        "nsswitch.conf", "passwd", "vulkan",
    )
)  # fmt: skip
"""what any renderer reads of /etc; the rest holds keys and passwords"""
obstacle = asking.obstacle


def wanted(choice: Sandbox) -> bool:
    """Whether to use bubblewrap; with `require` it is used even where it can't work, and fails."""
    return choice is Sandbox.REQUIRE or (choice is Sandbox.AUTO and not obstacle())


class View:
    """What a renderer sees of the machine beyond the system: real files, by the names that it knows."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._guard = Guard(Path(work.scene), work.named)
        self._project = (str(Path(work.scene).parent),) if self._guard.shows_folder else ()
        self._more = tuple(self._named())

    def _named(self) -> Iterator[tuple[str, str]]:
        """The scene, and what it or the user names: a file has the names of all links to it."""
        paths = dict.fromkeys((self._work.scene, *self._work.named, *self._work.readable))
        routes = [list(ways(path)) for path in paths if not self._guard.objection(path)]
        real = {name: route[-1] for route in routes for name in route}
        seen = list(self._project)
        for name in sorted(real):
            if not is_below(f"{name}/", (*SYSTEM, *seen)):
                seen.append(name)
                yield real[name], name

    def shows(self, path: str | Path) -> bool:
        """Whether a renderer in the sandbox can open this file."""
        roots = (*self._project, *SYSTEM, self._work.scratch, *(name for _, name in self._more))
        return all(is_below(f"{name}/", roots) for name in ways(path))

    def hides(self, path: str) -> bool:
        """Whether a file is there, and who renders looks for it in vain."""
        return Path(path).is_file() and not self.shows(path) and not self._guard.objection(path)

    @property
    def folder(self) -> Path | None:
        """The scene's folder, where all of it is shown."""
        return Path(self._project[0]) if self._project else None

    def mounts(self, layered: Path | None = None) -> Iterator[str]:
        """Options of bubblewrap: all is read-only but the scratch folder, and the scene's where `layered`."""
        settings = (*SETTINGS, *renderer(self._work.renderer).equipment.etc_files)
        yield from _system(settings)
        for path in self._project:
            yield from ("--ro-bind-try", path, path) if layered is None else ("--bind", str(layered), path)
        for path in self._installation():
            yield from ("--ro-bind-try", path, path)
        copies = {list(ways(path))[-1]: copy for path, copy in self._work.copies.items()}
        for source, name in self._more:
            yield from ("--ro-bind-try", copies.get(source, source), name)
            for hidden in self._guard.hidden_in(source):
                cover = ("--tmpfs",) if Path(hidden).is_dir() else ("--ro-bind", "/dev/null")
                yield from (*cover, name + hidden[len(source) :])
        for source, copy in copies.items():
            yield from ("--ro-bind", copy, copy)
            if is_below(source, self._project):
                yield from ("--ro-bind", copy, source)
        yield from ("--bind", self._work.scratch, self._work.scratch)

    def _installation(self) -> Iterator[str]:
        """The renderer's own files; of one that lies right in a home only the program."""
        build = self._work.build
        yield from (name for name in ways(build.path) if not is_below(name, self._project))
        folders = renderer(build.renderer).installation(build)
        yield from (str(folder) for folder in folders if not self._guard.is_wide(folder))


def command(argv: Sequence[str], mounts: Sequence[str], cwd: Path) -> list[str]:
    """argv inside bubblewrap: no network, no home, no other processes."""
    return [*asking.BWRAP, *mounts, "--chdir", str(cwd), "--", *argv]


def _system(settings: Sequence[str]) -> Iterator[str]:
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.exists():
            yield from ("--ro-bind", name, name)
    for name in settings:
        yield from ("--ro-bind-try", name, name)
    yield from ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")  # noqa: S108 - the sandbox's own
    for name in devices():
        yield from ("--dev-bind-try", name, name)
    if folder := kernels():
        yield from ("--bind", str(folder), str(folder))


def kernels() -> Path | None:
    """Where drivers keep what they compile for graphics cards, for all jobs; None without a card."""
    if not devices():
        return None
    folder = farm_home() / "kernels"
    folder.mkdir(exist_ok=True)
    return folder
