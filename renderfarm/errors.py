"""Everything that can go wrong, as one tree.

    RenderfarmError                exit 1
    ├── InputError                 exit 2   the user asked for something that can't be done
    │   ├── SceneError                      the scene can't be rendered as it is
    │   │   └── MissingAssetsError          files that the scene needs are not there
    │   ├── FramesError                     a frame range that is none
    │   └── ConfigError                     a bad configuration file or setting
    ├── PoolError                  exit 3   a pool, renderer or service can't be used
    │   └── RendererMissingError            no renderer that fits the scene
    ├── StoreError                 exit 2   the farm's memory can't be used
    │   ├── JobBusyError                    somebody else is working on this job
    │   └── StoreWriteError        exit 1   the memory can't be written in the middle of a job
    ├── SessionError               exit 1   a warm renderer died or answered nonsense
    ├── AssemblyError              exit 1   no video could be made
    └── Interrupted                exit 130 the user pressed Ctrl-C

The library raises these, the command line prints them: message first (what happened, to what),
then `hint`, the next thing to do. Exit codes are part of the contract.
"""

from __future__ import annotations


class RenderfarmError(Exception):
    """Something went wrong that a user can understand; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class InputError(RenderfarmError):
    """What was asked for can't be done; nothing was rendered."""

    exit_code = 2


class SceneError(InputError):
    """The scene file can't be read, or can't be rendered as it is."""


class MissingAssetsError(SceneError):
    """Files that the scene needs are not there; `paths` names them."""

    def __init__(self, message: str, paths: tuple[str, ...], hint: str = "") -> None:
        super().__init__(message, hint)
        self.paths = paths


class FramesError(InputError):
    """A frame range that is empty, reversed, too large or no range at all."""


class ConfigError(InputError):
    """A configuration file, environment variable or pool name that makes no sense."""


class PoolError(RenderfarmError):
    """A pool or service can't be used; nothing that was rendered is lost."""

    exit_code = 3
    transient = False
    """it may pass by itself"""


class UnreachableError(PoolError):
    """A service did not answer; what it has goes on."""

    transient = True


class RendererMissingError(PoolError):
    """No renderer on this machine can open the scene."""


class StoreError(RenderfarmError):
    """The farm's memory can't be used: unknown job, newer version, unwritable folder."""

    exit_code = 2


class JobBusyError(StoreError):
    """Another process is working on the same job or output folder."""


class StoreWriteError(StoreError):
    """The farm's memory can't be written while a job is going on; what was finished is kept."""

    exit_code = 1


class SessionError(RenderfarmError):
    """A warm renderer died, hung or answered nonsense."""


class AssemblyError(RenderfarmError):
    """The frames could not be made into a video."""


class Interrupted(RenderfarmError):  # noqa: N818 - not an error, but it ends the command
    """The user stopped the command; the message carries the command that resumes it."""

    exit_code = 130
