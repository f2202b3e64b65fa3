"""Which of the files that a scene names its renderer may see: the one place that decides.

A scene is foreign input. What the user named is shown: the scene with its folder, and what `Work.named` has.
Anything else must lie outside hidden folders, other people's homes and the system's own places, by its own name
and by those of all files that it links to. A hard link can't be told from the file itself.
"""

from __future__ import annotations

import functools
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from renderfarm.renderers import renderers
from renderfarm.words.stamps import parents, ways

FIRST_PERSON = 1000
"""user ids from here on are people's (login.defs(5), UID_MIN), and that of root"""
FARMS_OWN = ".renderfarm"
"""in output folders; what lies in it may be changed by renderers, so that it must not be believed"""
_SYSTEM = ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var")
_SHARED = ("/home", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - nothing is written there
_OPEN = (
    *("/etc/alternatives", "/etc/fonts", "/run/media", "/var/tmp"),  # noqa: S108
    *("/var/home", "/var/local", "/var/media", "/var/mnt", "/var/opt", "/var/srv", "/var/www"),
    f"/run/user/{os.getuid()}/gvfs",
)
"""parts of the system's own places that hold fonts, disks and projects"""
_FONTS = (".fonts", ".local/share/fonts")
_KEYS = (
    *(".aws", ".azure", ".docker", ".gnupg", ".kube", ".netrc", ".password-store", ".pgpass", ".ssh"),
    *("id_dsa*", "id_ecdsa*", "id_ed25519*", "id_rsa*", "krb5cc*"),
    *("*.gpg", "*.jks", "*.kdbx", "*.key", "*.keytab", "*.p12", "*.pem", "*.pfx", "*.ppk"),
)


class Guard:
    """Judges what one scene names."""

    def __init__(self, scene: Path, named: Iterable[str] = ()) -> None:
        own, others = _own_homes(), _people()
        self._homes = own | others
        holders = {parent for home in self._homes for parent in parents(home)}
        self._wide = {"/", *_SYSTEM, *_SHARED, *self._homes, *holders}
        places = set(ways(scene.parent))
        self._own = own | {home for home in others if any(is_below(f"{place}/", (home,)) for place in places)}
        self.shows_folder = not self.is_wide(scene.parent)
        """whether the scene's whole folder is shown: not where that is a home or a place of the system's"""
        folders = [*named, *((scene.parent,) if self.shows_folder else ())]
        self._free = tuple(name for path in folders if not self.is_wide(path) for name in ways(path))
        self._files = set(ways(scene))

    def objection(self, path: str | Path) -> str:
        """Why it is not shown, to go after "it"; empty where nothing speaks against it."""
        reasons = map(self._about, ways(path))
        return next(filter(None, reasons), "is no file" if _is_special(path) else "")

    def is_wide(self, path: str | Path) -> bool:
        """Whether so much lies below it that nobody can have meant all of that."""
        return any(name in self._wide for name in ways(path))

    def hidden_in(self, folder: str) -> Iterator[str]:
        """What must be covered up in a folder that a scene names; in homes alone, as a walk takes its time."""
        if not is_below(folder, self._own) or is_below(f"{folder}/", self._free):
            return
        for place, folders, files in os.walk(folder):
            found = {name for name in (*folders, *files) if self._about(os.path.join(place, name))}
            paths = (os.path.join(place, name) for name in sorted(found))
            yield from (path for path in paths if not os.path.islink(path))
            folders[:] = [name for name in folders if name not in found]

    def _about(self, name: str) -> str:
        if name in self._files or is_below(f"{name}/", self._free):
            return ""
        if name in self._wide:
            return "is a home, a folder of the system or one that everybody shares"
        home = next((parent for parent in parents(name) if parent in self._homes), None)
        if FARMS_OWN in name.split("/"):
            return "belongs to a job of the farm"
        if home and home not in self._own:
            return "lies in another user's home"
        if home and _is_hidden(os.path.relpath(name, home)):
            return "lies in a hidden folder of a home"
        if any(fnmatchcase(part, key) for part in name.split("/") for key in _KEYS):
            return "looks like a key"
        if not home and is_below(name, _SYSTEM) and not is_below(name, (*_OPEN, *_of_renderers("etc_files"))):
            return "belongs to the system"
        return ""


def is_below(name: str, folders: Iterable[str]) -> bool:
    """Compared as text: pathlib takes several times as long, and there may be very many files."""
    return name.startswith(tuple(f"{folder}/" for folder in folders))


def _is_hidden(name: str) -> bool:
    parts = set(name.split("/")) - _of_renderers("hidden")
    return any(part.startswith(".") for part in parts) and not is_below(f"{name}/", _FONTS)


@functools.cache
def _of_renderers(what: str) -> frozenset[str]:
    """What renderers say of the places of their files."""
    return frozenset(name for each in renderers() for name in getattr(each.equipment, what))


def _is_special(path: str | Path) -> bool:
    """Whether it is a socket, a pipe or a device."""
    try:
        return stat.S_IFMT(os.stat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR)
    except OSError:
        return False


def _own_homes() -> frozenset[str]:
    """This user's, by the environment and by the system's list."""
    try:
        listed = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        listed = ""
    return _with_links({os.path.expanduser("~"), listed})


@functools.cache
def _people() -> frozenset[str]:
    """The homes of all people that the system knows."""
    users = (user for user in pwd.getpwall() if user.pw_uid == 0 or user.pw_uid >= FIRST_PERSON)
    homes = {
        user.pw_dir for user in users if not is_below(f"{user.pw_dir}/", ("/usr", "/bin", "/dev", "/proc"))
    }
    return _with_links({"/root", *homes, *(str(path) for path in Path("/home").glob("*") if _is_home(path))})


def _is_home(folder: Path) -> bool:
    """Whether a folder in /home is somebody's: not every directory service lists all of its users."""
    try:
        pwd.getpwnam(folder.name)
    except KeyError:
        return folder.is_dir() and folder.stat().st_uid not in (0, os.getuid())
    return True


def _with_links(homes: set[str]) -> frozenset[str]:
    absolute = {home.rstrip("/") for home in homes if home.startswith("/")} - {""}
    return frozenset(name for home in absolute for name in (home, os.path.realpath(home)))
