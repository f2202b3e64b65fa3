# SPDX-License-Identifier: GPL-3.0-or-later
"""A panel in Blender's render properties that submits the saved file to renderfarm and shows how it goes.

It saves nothing by itself, packs and reloads nothing, and keeps its fields out of the file: they belong to the
window manager, which knows no undo. One folder serves Blender 3.4 (`bl_info`) and 4.2 on (the manifest).
"""

import textwrap
from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty, IntProperty, PointerProperty, StringProperty

from . import commands

bl_info = {
    "name": "renderfarm",
    "author": "The authors of renderfarm",
    "version": (0, 1, 0),
    "blender": (3, 4, 0),
    "location": "Properties > Render > renderfarm",
    "description": "Render the saved file with renderfarm, and watch it here",
    "category": "Render",
}
TICK_SECONDS = 0.5
POINTS_PER_CHARACTER = 7
PICTURE_SCALE = 9.0
JOBS: dict[str, commands.Job] = {}
"""path of a .blend to the job that its panel shows"""
POOLS: dict[str, commands.Pools] = {}
"""folder to the pools that it knows"""
SAID: dict[tuple[str, str], Any] = {}
"""what fields say, by file and name"""
PAGES: list[commands.Page] = []
"""the one that is served, if any"""
PICTURES: Any = None


def renderfarm(context: Any) -> list[str]:
    """How renderfarm is started."""
    added = context.preferences.addons.get(__package__)
    return commands.program(added.preferences.program if added and added.preferences else "")


def folder() -> str:
    """The folder of the file that is open; of one that was never saved, the one that Blender was started in."""
    return str(Path(bpy.data.filepath).parent)


def output() -> Path:
    """Where the frames of the file that is open go."""
    return Path(folder(), "renders", Path(bpy.data.filepath).stem)


def current() -> commands.Job | None:
    """The job of the file that is open."""
    return JOBS.get(bpy.data.filepath)


def pools(settings: Any, context: Any, typed: str) -> list[str]:
    """The pools that renderfarm knows here, as far as it has said so; asked again until it has."""
    known = POOLS.get(folder())
    if known is None or known.failed:
        known = POOLS[folder()] = commands.Pools(renderfarm(context), folder())
    return known.names


def own_frames() -> str:
    """The scene's range as renderfarm writes it."""
    scene = bpy.context.scene
    step = f"x{scene.frame_step}" if scene.frame_step > 1 else ""
    return f"{scene.frame_start}-{scene.frame_end}{step}"


def own_scale() -> int:
    """The scene's percentage."""
    return int(bpy.context.scene.render.resolution_percentage)


def said(name: str, own: Any) -> dict[str, Any]:
    """A field that shows the scene's own value until another one is said, of the file that is open."""
    return {
        "get": lambda settings: SAID.get((bpy.data.filepath, name)) or own(),
        "set": lambda settings, value: SAID.update({(bpy.data.filepath, name): value}),
    }


class Settings(bpy.types.PropertyGroup):
    """What the panel's fields say; they begin with what the scene says."""

    pool: StringProperty(name="Pool", description="Pool that renders; empty: the default one", search=pools)
    frames: StringProperty(
        name="Frames", description="Such as 1-500, 1-500x5 or 1,5,10-20", **said("frames", own_frames)
    )
    scale: IntProperty(
        name="Scale",
        description="Percent of the scene's resolution",
        min=1,
        soft_max=100,
        max=32767,
        subtype="PERCENTAGE",
        **said("scale", own_scale),
    )

    def argv(self) -> list[str]:
        """The same as options of the command line."""
        given = {"pool": self.pool, "frames": self.frames, "scale": self.scale}
        own = ("", own_frames(), own_scale())
        # The saved file may say something else than what the scene says now, and somebody typed.
        typed = {name for path, name in SAID if path == bpy.data.filepath and bpy.data.is_dirty}
        return [f"--{name}={value}" for name, value in given.items() if value not in own or name in typed]


class Preferences(bpy.types.AddonPreferences):
    """Which renderfarm is run."""

    bl_idname = __package__
    program: StringProperty(
        name="Command", description="Command line of renderfarm; empty: the one that installed this add-on"
    )

    def draw(self, context: Any) -> None:
        """One field."""
        self.layout.prop(self, "program")


class Submit(bpy.types.Operator):
    """Hand the saved file to renderfarm; rendering goes on when Blender is closed"""

    bl_idname = "renderfarm.submit"
    bl_label = "Submit"
    unsaved: EnumProperty(
        name="Unsaved Changes",
        items=(
            ("LEAVE", "Submit What Is Saved", "Changes since then are not rendered"),
            ("SAVE", "Save First", "Write the changes into the file, then submit it"),
        ),
        default="LEAVE",
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only a file can be submitted, once at a time."""
        job = current()
        return bool(bpy.data.filepath) and not (job and job.busy)

    def invoke(self, context: Any, event: Any) -> Any:
        """Ask what is to become of unsaved changes."""
        if bpy.data.is_dirty:
            return context.window_manager.invoke_props_dialog(self)
        return self.execute(context)

    def draw(self, context: Any) -> None:
        """The question."""
        self.layout.label(text="The file has unsaved changes.")
        self.layout.prop(self, "unsaved", expand=True)

    def execute(self, context: Any) -> Any:
        """Begin; all else is a thread's."""
        if bpy.data.is_dirty and self.unsaved == "SAVE":
            bpy.ops.wm.save_mainfile()
        argv = [*context.window_manager.renderfarm.argv(), "--output", str(output()), "--", bpy.data.filepath]
        job = JOBS[bpy.data.filepath] = commands.Job(renderfarm(context), folder(), submit=argv)
        if bpy.data.is_dirty:
            job.note = "Rendered as last saved: later changes are not in it."
        watch()
        return {"FINISHED"}


class Show(bpy.types.Operator):
    """Show the newest job of this file, wherever it was submitted"""

    bl_idname = "renderfarm.show"
    bl_label = "Show Last Job"

    def execute(self, context: Any) -> Any:
        """Listen to it."""
        JOBS[bpy.data.filepath] = commands.Job(renderfarm(context), folder(), str(output()))
        watch()
        return {"FINISHED"}


class Stop(bpy.types.Operator):
    """Stop the job; finished frames are kept"""

    bl_idname = "renderfarm.stop"
    bl_label = "Stop"

    def execute(self, context: Any) -> Any:
        """Ask for it; the job's own news show that it was done."""
        job = current()
        if job and job.id:
            job.stop()
        return {"FINISHED"}


class OpenPage(bpy.types.Operator):
    """Show the job in the browser: its frames, film, times and logs"""

    bl_idname = "renderfarm.page"
    bl_label = "Page"

    def execute(self, context: Any) -> Any:
        """Serve the page as long as Blender is open."""
        job = current()
        if job and PAGES and PAGES[-1].there:
            PAGES[-1].show(job.id)
        elif job:
            PAGES[:] = [commands.Page(renderfarm(context), folder(), job.id)]
        return {"FINISHED"}


class Panel(bpy.types.Panel):
    """Fields, the button, and below how the job goes."""

    bl_idname = "RENDER_PT_renderfarm"
    bl_label = "renderfarm"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"

    def draw(self, context: Any) -> None:
        """All of it, from what is known; nothing here waits."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings, job = context.window_manager.renderfarm, current()
        if folder() not in POOLS:
            pools(settings, context, "")
        fields = layout.column()
        for name in ("pool", "frames", "scale"):
            fields.prop(settings, name)
        layout.operator(Submit.bl_idname, icon="RENDER_ANIMATION")
        if not bpy.data.filepath:
            layout.label(text="Save the file first.", icon="INFO")
        elif job:
            self._job(job, max(20, context.region.width // POINTS_PER_CHARACTER))
        elif (output() / "job.json").exists():
            layout.operator(Show.bl_idname, icon="FILE_REFRESH")

    def _job(self, job: commands.Job, width: int) -> None:
        box = self.layout.box().column()
        if job.status:
            self._progress(box, job)
        elif job.busy:
            box.label(text="Looking at the scene …", icon="TIME")
        failures = job.status.get("failures") or ()
        told = [job.error, job.note, *(f"Frame {each['frame']}: {each['message']}" for each in failures[:3])]
        for line in (
            line for text in told for part in text.splitlines() for line in textwrap.wrap(part, width)
        ):
            box.label(text=line)

    def _progress(self, box: Any, job: commands.Job) -> None:
        box.label(text=f"{job.id}: {job.status.get('phase') or job.status['state']}")
        counts = job.status["frames"]
        text = f"{counts['succeeded']:,} of {counts['total']:,} frames"
        if hasattr(box, "progress"):  # Blender 4.0
            box.progress(factor=counts["succeeded"] / max(1, counts["total"]), text=text)
        else:
            box.label(text=text)
        if words := pace(job.status):
            box.label(text=words)
        if PICTURES:
            box.template_icon(next(iter(PICTURES.values())).icon_id, scale=PICTURE_SCALE)
        row = box.row()
        row.operator(OpenPage.bl_idname, icon="URL")
        row.operator("wm.path_open", text="Folder", icon="FILE_FOLDER").filepath = job.status["output"]
        if job.busy:
            row.operator(Stop.bl_idname, icon="CANCEL")


def pace(status: dict[str, Any]) -> str:
    """`4.2 s each, 3 min left`, as far as it is known."""
    rate, left = status.get("frames_per_minute"), status.get("eta_seconds")
    words = [f"{60 / rate:.1f} s each"] if rate else []
    words += [f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left"] if left else []
    return ", ".join(words)


def watch() -> None:
    """Look for news a few times a second."""
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, persistent=True)


def tick() -> float | None:
    """Show the last frame, and draw the panel anew; ends with the last job that is listened to."""
    job, busy = current(), any(each.busy for each in JOBS.values())
    show_picture((job.status.get("last_frame") if job else None) or "")
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PROPERTIES":
                area.tag_redraw()
    return TICK_SECONDS if busy else None


def show_picture(path: str) -> None:
    """Keep a small copy of one frame for the panel; no image of the file is made of it."""
    if path in PICTURES:
        return
    PICTURES.clear()
    if path and Path(path).is_file():
        PICTURES.load(path, path, "IMAGE", True)


CLASSES = (Settings, Preferences, Submit, Show, Stop, OpenPage, Panel)


def register() -> None:
    """Called by Blender when the add-on is switched on."""
    import bpy.utils.previews

    global PICTURES
    PICTURES = bpy.utils.previews.new()
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.WindowManager.renderfarm = PointerProperty(type=Settings)


def unregister() -> None:
    """Called by Blender when it is switched off; jobs go on."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for job in JOBS.values():
        job.leave()
    for page in PAGES:
        page.close()
    JOBS.clear()
    del bpy.types.WindowManager.renderfarm
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
    bpy.utils.previews.remove(PICTURES)
