"""Scripts that did not run and drivers that don't work, as far as Blender says. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from renderfarm.renderers.blender.overrides import owners

_SHOWN = 3


def blocked_scripts(stopped: list[str]) -> list[str]:
    """What Blender did not run because scripts are not trusted; `stopped` are those that we switched off."""
    blocked = [f"the text {text.name!r}" for text in bpy.data.texts if text.use_module]
    blocked += [f"the driver of {where}" for where in _broken(scripted=True)]
    if bpy.app.autoexec_fail and not blocked and not stopped:
        blocked.append(bpy.app.autoexec_fail_message or "a script")
    return [*stopped, *blocked]


def notes(*, trusted: bool) -> Iterator[str]:
    """One sentence about drivers that no trust would make work; those with Python count once it is trusted."""
    broken = [*_broken(scripted=False), *(_broken(scripted=True) if trusted else ())]
    if broken:
        named = "; ".join(broken[:_SHOWN]) + ("; …" if len(broken) > _SHOWN else "")
        yield f"Drivers lack an add-on, a function or a property, so pixels may be wrong: {named}"


def _broken(*, scripted: bool) -> Iterator[str]:
    for each, owner in owners():
        data = getattr(each, "animation_data", None)
        for curve in data.drivers if data else ():
            if (curve.driver.type == "SCRIPTED") is scripted and not curve.driver.is_valid:
                yield f"{owner.name!r} {curve.data_path}: {_formula(curve.driver)}"


def _formula(driver: bpy.types.Driver) -> str:
    if driver.type == "SCRIPTED":
        return str(driver.expression)
    paths = [target.data_path for variable in driver.variables for target in variable.targets]
    return f"{driver.type.lower()} of {', '.join(paths)}"
