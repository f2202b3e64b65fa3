"""Checked frames and a video from a Blender or POV-Ray scene.

    import renderfarm
    status = renderfarm.submit("scene.blend", frames="1-48", output="out")
    print(status.video, [failure.frame for failure in status.failures])

Every verb of the command line is a function here. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from renderfarm.errors import (
        AssemblyError,
        ConfigError,
        FramesError,
        InputError,
        Interrupted,
        JobBusyError,
        MissingAssetsError,
        PoolError,
        RendererMissingError,
        RenderfarmError,
        SceneError,
        SessionError,
        StoreError,
    )
    from renderfarm.farm.api import assemble, check, detach, inspect, plan, submit
    from renderfarm.farm.verbs import cancel, collect, jobs, logs, pause, resume, retry, status
    from renderfarm.words.request import Request, Sandbox, Settings
    from renderfarm.words.scene import Asset, Scene
    from renderfarm.words.states import Finding, JobState
    from renderfarm.words.status import Counts, FrameFailure, NodeStatus, Status, Suspect

__version__ = "0.1.0"
__all__ = [
    "AssemblyError",
    "Asset",
    "ConfigError",
    "Counts",
    "Finding",
    "FrameFailure",
    "FramesError",
    "InputError",
    "Interrupted",
    "JobBusyError",
    "JobState",
    "MissingAssetsError",
    "NodeStatus",
    "PoolError",
    "RendererMissingError",
    "RenderfarmError",
    "Request",
    "Sandbox",
    "Scene",
    "SceneError",
    "SessionError",
    "Settings",
    "Status",
    "StoreError",
    "Suspect",
    "__version__",
    "assemble",
    "cancel",
    "check",
    "collect",
    "detach",
    "inspect",
    "jobs",
    "logs",
    "pause",
    "plan",
    "resume",
    "retry",
    "status",
    "submit",
]

_TYPES = ("errors", "words.states", "words.scene", "words.request", "words.status")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Fetch a public name from its module, the first time it is asked for."""
        if name not in __all__:
            raise AttributeError(f"module 'renderfarm' has no attribute {name!r}")
        homes = _TYPES if name[0].isupper() else ("farm.api", "farm.verbs")
        modules = (importlib.import_module(f"renderfarm.{home}") for home in homes)
        globals()[name] = value = next(getattr(each, name) for each in modules if hasattr(each, name))
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
