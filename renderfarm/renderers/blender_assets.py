"""The files a scene needs: found through Blender's data, from the scene outwards. Runs inside Blender.

Only what the scene uses counts: a texture left over in a brush or an unused material stops no job. What the
lists below don't know is taken from `bpy.utils.blend_paths`, as far as it exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import bpy

from renderfarm.model import Asset
from renderfarm.renderers import blender_physics
from renderfarm.renderers.blender_overrides import absolute

_DIGITS = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)
_KINDS = {
    ".blend": "library",
    ".vdb": "volume",
    ".abc": "cache",
    ".osl": "script",
    ".oso": "script",
    ".ies": "light",
}

Found = tuple[Path, str, str]
"""path, kind, the scene's name for it"""


def assets(scene: bpy.types.Scene) -> list[Asset]:
    """Every file (or cache folder) that the scene needs, each once."""
    used = _reachable(scene)
    found: dict[str, Asset] = {}
    sources = (
        _images(scene, used), _clips(used), _plain(used), _libraries(used), _volumes(scene, used),
        _cache_files(scene, used), _node_files(used), _modifier_files(used), _point_caches(scene),
        _strip_files(scene),
    )  # fmt: skip
    for source in sources:
        for path, kind, name in source:
            found.setdefault(str(path), _asset(path, kind, name))
    for path in _others(used):
        found.setdefault(str(path), _asset(path, _KINDS.get(path.suffix.lower(), "file"), ""))
    return sorted(found.values(), key=_path_of)


def _path_of(asset: Asset) -> str:
    return asset.path


def _asset(path: Path, kind: str, name: str) -> Asset:
    try:
        exists, size = path.exists(), _size(path)
    except OSError:
        exists, size = False, 0
    return Asset(str(path), kind, exists, size, name)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def _reachable(scene: bpy.types.Scene) -> set[bpy.types.ID]:
    """The data-blocks that the scene uses, directly or through others."""
    uses: dict[bpy.types.ID, set[bpy.types.ID]] = {}
    for used, users in bpy.data.user_map().items():
        for user in users:
            uses.setdefault(user, set()).add(used)
    seen, ahead = {scene}, [scene]
    while ahead:
        fresh = uses.get(ahead.pop(), set()) - seen
        seen |= fresh
        ahead.extend(fresh)
    return seen


def _of(used: set[bpy.types.ID], kind: str) -> list[bpy.types.ID]:
    return [item for item in used if item.bl_rna.identifier == kind]


def _trees(used: set[bpy.types.ID]) -> Iterator[bpy.types.NodeTree]:
    """Node trees in use: groups are data-blocks themselves, the others live in their owner."""
    for item in used:
        tree = item if isinstance(item, bpy.types.NodeTree) else getattr(item, "node_tree", None)
        if tree is not None:
            yield tree


def _frames(scene: bpy.types.Scene) -> range:
    return range(scene.frame_start, scene.frame_end + 1, scene.frame_step)


def numbered(path: Path, number: int) -> Path:
    """The file of a sequence with another number, padded like the one given."""
    match = _DIGITS.match(path.name)
    if match is None:
        return path
    return path.with_name(f"{match[1]}{number:0{len(match[2])}d}{match[3]}")


def _images(scene: bpy.types.Scene, used: set[bpy.types.ID]) -> Iterator[Found]:
    users = _image_users(used)
    for image in _of(used, "Image"):
        if (
            image.source not in {"FILE", "SEQUENCE", "MOVIE", "TILED"}
            or image.packed_files
            or not image.filepath
        ):
            continue
        path = absolute(image.filepath, image.library)
        if image.source == "TILED":
            yield from ((_tile(path, tile.number), "tiles", image.name) for tile in image.tiles)
        elif image.source == "SEQUENCE":
            numbers = {n for user in users.get(image, ()) for n in _sequence_numbers(user, _frames(scene))}
            found = [numbered(path, number) for number in sorted(numbers)] or [path]
            yield from ((file, "sequence", image.name) for file in found)
        else:
            yield path, "movie" if image.source == "MOVIE" else "image", image.name


def _tile(path: Path, number: int) -> Path:
    u, v = (number - 1001) % 10 + 1, (number - 1001) // 10 + 1
    return path.with_name(path.name.replace("<UDIM>", str(number)).replace("<UVTILE>", f"u{u}_v{v}"))


def _image_users(used: set[bpy.types.ID]) -> dict[bpy.types.ID, list[bpy.types.bpy_struct]]:
    """What decides which file of an image sequence is shown: nodes, textures, empties, backgrounds."""
    users: dict[bpy.types.ID, list[bpy.types.bpy_struct]] = {}
    holders = [node for tree in _trees(used) for node in tree.nodes]
    holders += [item for item in used if hasattr(item, "image_user")]
    holders += [shown for camera in _of(used, "Camera") for shown in camera.background_images]
    for holder in holders:
        image = getattr(holder, "image", None) or getattr(holder, "data", None)
        user = getattr(holder, "image_user", holder)
        if isinstance(image, bpy.types.Image) and hasattr(user, "frame_duration"):
            users.setdefault(image, []).append(user)
    return users


def _sequence_numbers(user: bpy.types.bpy_struct, frames: Iterable[int]) -> set[int]:
    """File numbers that the frames show, cycled into 1..duration or clamped to 0..duration, then offset."""
    length = user.frame_duration
    numbers: set[int] = set()
    for frame in frames:
        number = frame - user.frame_start + 1
        number = (number - 1) % length + 1 if user.use_cyclic else min(max(number, 0), length)
        numbers.add(number + user.frame_offset)
    return numbers


def _clips(used: set[bpy.types.ID]) -> Iterator[Found]:
    for clip in _of(used, "MovieClip"):
        path = absolute(clip.filepath, clip.library)
        match = _DIGITS.match(path.name)
        count = clip.frame_duration if clip.source == "SEQUENCE" and match else 1
        first = int(match[2]) if match else 0
        for number in range(first, first + count):
            yield (numbered(path, number) if count > 1 else path), "movie", clip.name


def _plain(used: set[bpy.types.ID]) -> Iterator[Found]:
    for kind, word in (("Sound", "sound"), ("VectorFont", "font")):
        for item in _of(used, kind):
            if item.filepath and item.filepath != "<builtin>" and not item.packed_file:
                yield absolute(item.filepath, item.library), word, item.name
    for text in _of(used, "Text"):
        if text.filepath and not text.is_in_memory and absolute(text.filepath, text.library).exists():
            yield absolute(text.filepath, text.library), "text", text.name


def _libraries(used: set[bpy.types.ID]) -> Iterator[Found]:
    """Linked files, those that they link in turn, and data-blocks that are not in them any more."""
    pending = {item.library for item in used if item.library} | set(_of(used, "Library"))
    seen: set[bpy.types.Library] = set()
    while pending:
        library = pending.pop()
        seen.add(library)
        if library.parent and library.parent not in seen:
            pending.add(library.parent)
        if not library.packed_file and not getattr(library, "is_archive", False):
            yield absolute(library.filepath, library.parent), "library", library.name
    for item in used:
        if item.library and item.is_missing and absolute(item.library.filepath, item.library.parent).exists():
            inside = absolute(item.library.filepath, item.library.parent) / item.bl_rna.identifier / item.name
            yield inside, "library", f"{item.name} is not in {item.library.name}"


def _volumes(scene: bpy.types.Scene, used: set[bpy.types.ID]) -> Iterator[Found]:
    for volume in _of(used, "Volume"):
        if volume.packed_file or not volume.filepath:
            continue
        path = absolute(volume.filepath, volume.library)
        if not volume.is_sequence:
            yield path, "volume", volume.name
            continue
        for number in sorted(_volume_numbers(volume, _frames(scene))):
            yield numbered(path, number), "volume", volume.name


def _volume_numbers(volume: bpy.types.Volume, frames: Iterable[int]) -> set[int]:
    length, mode = volume.frame_duration, volume.sequence_mode
    numbers: set[int] = set()
    for frame in frames:
        number = frame - volume.frame_start + 1
        if mode == "CLIP" and not 1 <= number <= length:
            continue
        if mode == "REPEAT":
            number = (number - 1) % length + 1
        elif mode == "PING_PONG" and length > 1:
            there = (number - 1) % (2 * length - 2)
            number = min(there, 2 * length - 2 - there) + 1
        numbers.add(min(max(number, 1), length) + volume.frame_offset)
    return numbers


def _cache_files(scene: bpy.types.Scene, used: set[bpy.types.ID]) -> Iterator[Found]:
    """Alembic and USD files; a sequence of them has one file per frame."""
    for cache in _of(used, "CacheFile"):
        path = absolute(cache.filepath, cache.library)
        if not cache.is_sequence:
            yield path, "cache", cache.name
            continue
        for frame in _frames(scene):
            yield numbered(path, frame), "cache", cache.name


def _node_files(used: set[bpy.types.ID]) -> Iterator[Found]:
    kinds = {"ShaderNodeScript": "script", "ShaderNodeTexIES": "light"}
    for tree in _trees(used):
        for node in tree.nodes:
            if node.bl_idname in kinds and node.mode == "EXTERNAL" and node.filepath:
                yield absolute(node.filepath, tree.id_data.library), kinds[node.bl_idname], node.name
            elif node.bl_idname.startswith("GeometryNodeImport") and node.inputs:
                typed = getattr(node.inputs[0], "default_value", "")
                if typed and not node.inputs[0].is_linked:
                    yield absolute(typed, tree.id_data.library), "cache", node.name


def _modifier_files(used: set[bpy.types.ID]) -> Iterator[Found]:
    for item in _of(used, "Object"):
        for modifier in item.modifiers:
            name = f"{modifier.name} of {item.name}"
            if modifier.type == "MESH_CACHE" and modifier.filepath:
                yield absolute(modifier.filepath, item.library), "cache", name
            elif modifier.type == "OCEAN" and modifier.is_cached:
                yield absolute(modifier.filepath, item.library), "simulation", name
            elif modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
                yield from _fluid(modifier, item, name)
            elif modifier.type == "NODES":
                yield from _baked_nodes(modifier, item, name)


def _fluid(modifier: bpy.types.FluidModifier, item: bpy.types.Object, name: str) -> Iterator[Found]:
    domain = modifier.domain_settings
    folder = absolute(domain.cache_directory, item.library)
    if domain.cache_type != "REPLAY" or folder.exists():
        yield folder, "simulation", name


def _baked_nodes(modifier: bpy.types.NodesModifier, item: bpy.types.Object, name: str) -> Iterator[Found]:
    """Folders that simulations and bakes of geometry nodes were written to; without one, nothing is baked."""
    for bake in getattr(modifier, "bakes", ()):
        own = bake.directory if bake.use_custom_path else ""
        folder = (
            own or getattr(modifier, "bake_directory", "") or getattr(modifier, "simulation_bake_directory", "")
        )
        if folder and absolute(folder, item.library).exists():
            yield absolute(folder, item.library), "simulation", name


def _point_caches(scene: bpy.types.Scene) -> Iterator[Found]:
    """Physics baked to disk: a folder of its own, or the one that Blender names after the scene file."""
    beside = Path(bpy.data.filepath)
    for name, cache in blender_physics.caches(scene):
        if cache.use_external and cache.filepath:
            yield absolute(cache.filepath), "simulation", name
        elif cache.use_disk_cache and cache.is_baked:
            yield beside.with_name(f"blendcache_{beside.stem}"), "simulation", name


def strips(scene: bpy.types.Scene) -> list[bpy.types.bpy_struct]:
    """The strips of the scene's video sequence, those in metas included; the name changed in 4.4."""
    editor = scene.sequence_editor
    if editor is None:
        return []
    return list(editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all)


def _strip_files(scene: bpy.types.Scene) -> Iterator[Found]:
    for strip in strips(scene):
        if strip.mute:
            continue
        if strip.type == "IMAGE":
            for element in strip.elements:
                yield absolute(strip.directory) / element.filename, "sequence", strip.name
        elif strip.type == "MOVIE":
            yield absolute(strip.filepath), "movie", strip.name


def _others(used: set[bpy.types.ID]) -> Iterator[Path]:
    """Files that exist and that only Blender's own list knows, brushes' and unused data-blocks' left out."""
    idle = {_raw_path(item) for item in bpy.data.user_map() if item not in used}
    for path in bpy.utils.blend_paths(absolute=True, packed=False, local=False):
        file = Path(path)
        if file not in idle and file.is_file():
            yield file


def _raw_path(item: bpy.types.ID) -> Path | None:
    raw = getattr(item, "filepath", "") or getattr(item, "icon_filepath", "")
    return absolute(raw, item.library) if raw else None
