"""The files a scene needs: found through Blender's data, from the scene outwards. Runs inside Blender.

Only what the scene uses counts: a texture left over in a brush or an unused material stops no job. What the
lists below don't know is taken from `bpy.utils.blend_paths`, as far as it exists.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import bpy

from renderfarm.renderers import wildcards
from renderfarm.renderers.blender import physics, sequences, sounds
from renderfarm.renderers.blender.overrides import absolute
from renderfarm.renderers.blender.sequences import Found, Timing, of, trees
from renderfarm.words.scene import Asset, Wild

PROJECT = ".blender_project"
_SEARCHED = re.compile(r"^search_path:(.*(?:\n\s*- .*)*)", re.MULTILINE)
_NAME = re.compile(r"[^\s:,\[\]\"'-][^\s:,\[\]\"']*")
_KINDS = {
    ".blend": "library",
    ".vdb": "volume",
    ".abc": "cache",
    ".osl": "script",
    ".oso": "script",
    ".ies": "light",
}


def assets(scene: bpy.types.Scene, *, trusted: bool = False) -> tuple[list[Asset], list[Wild]]:
    """Every file (or cache folder) that the scene needs, each once, and where others may appear.

    `trusted` says whether scripts of the scene run.
    """
    used = _reachable(scene)
    when = sequences.timing(scene, used, trusted=trusted)
    found: dict[Path, Found] = {}
    wild: dict[Wild, None] = {}
    sources = (
        _images(used, when), _clips(used, when), _plain(used), _libraries(used), _volumes(used, when),
        _cache_files(used, when), _node_files(used), _modifier_files(used, when), _point_caches(scene),
        sequences.strip_files(scene, when), _project(), _heard(scene),
    )  # fmt: skip
    for item in itertools.chain.from_iterable(sources):
        if isinstance(item, Wild):
            wild[item] = None
        else:
            found[item.path] = _merged(found.get(item.path), item)
    for folder in _texture_caches(scene, found):
        wild[Wild(str(folder), "*")] = None
        if folder.exists():
            found[folder] = Found(folder, "cache", folder.name)
    for path in _others(used):
        found.setdefault(path, Found(path, _KINDS.get(path.suffix.lower(), "file"), ""))
    return sorted(map(_asset, found.values()), key=_path_of), list(wild)


def _merged(before: Found | None, now: Found) -> Found:
    if before is None:
        return now
    if before.frames is None or now.frames is None:
        return before._replace(frames=None)
    return before._replace(frames={*before.frames, *now.frames})


def _path_of(asset: Asset) -> str:
    return asset.path


def _asset(found: Found) -> Asset:
    try:
        exists, size = found.path.exists(), _size(found.path)
    except OSError:
        exists, size = False, 0
    frames = None if found.frames is None else wildcards.spans(sorted(found.frames))
    return Asset(str(found.path), found.kind, exists, size, found.name, frames)


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


def _images(used: set[bpy.types.ID], when: Timing) -> Iterator[Found | Wild]:
    for image in of(used, "Image"):
        if (
            image.source not in {"FILE", "SEQUENCE", "MOVIE", "TILED"}
            or image.packed_files
            or not image.filepath
        ):
            continue
        path = absolute(image.filepath, image.library)
        if image.source == "TILED":
            yield from (Found(_tile(path, tile.number), "tiles", image.name) for tile in image.tiles)
        elif image.source == "SEQUENCE":
            yield from sequences.image_sequence(image, path, used, when)
        else:
            yield Found(path, "movie" if image.source == "MOVIE" else "image", image.name)


def _tile(path: Path, number: int) -> Path:
    u, v = (number - 1001) % 10 + 1, (number - 1001) // 10 + 1
    return path.with_name(path.name.replace("<UDIM>", str(number)).replace("<UVTILE>", f"u{u}_v{v}"))


def _clips(used: set[bpy.types.ID], when: Timing) -> Iterator[Found | Wild]:
    for clip in of(used, "MovieClip"):
        path = absolute(clip.filepath, clip.library)
        if clip.source == "SEQUENCE" and clip.frame_duration > 1:
            yield from sequences.clip_sequence(clip, path, when)
        else:
            yield Found(path, "movie", clip.name)


def _plain(used: set[bpy.types.ID]) -> Iterator[Found]:
    for item in of(used, "VectorFont"):
        if item.filepath and item.filepath != "<builtin>" and not item.packed_file:
            yield Found(absolute(item.filepath, item.library), "font", item.name)
    for text in of(used, "Text"):
        if text.filepath and not text.is_in_memory and absolute(text.filepath, text.library).exists():
            yield Found(absolute(text.filepath, text.library), "text", text.name)


def _heard(scene: bpy.types.Scene) -> Iterator[Found]:
    """Sounds that belong to the scene's film; one that is muted may be gone."""
    yield from (Found(Path(each.path), "sound", each.name) for each in sounds.sounds(scene) if each.path)


def _libraries(used: set[bpy.types.ID]) -> Iterator[Found]:
    """Linked files, those that they link in turn, and data-blocks that are not in them any more."""
    pending = {item.library for item in used if item.library} | set(of(used, "Library"))
    seen: set[bpy.types.Library] = set()
    while pending:
        library = pending.pop()
        seen.add(library)
        if library.parent and library.parent not in seen:
            pending.add(library.parent)
        if not library.packed_file and not getattr(library, "is_archive", False):
            yield Found(absolute(library.filepath, library.parent), "library", library.name)
    for item in used:
        if item.library and getattr(item, "is_missing", False):  # 3.4 does not tell
            file = absolute(item.library.filepath, item.library.parent)
            if file.exists():
                name = f"{item.name} is not in {item.library.name}"
                yield Found(file / item.bl_rna.identifier / item.name, "library", name)


def _volumes(used: set[bpy.types.ID], when: Timing) -> Iterator[Found | Wild]:
    for volume in of(used, "Volume"):
        if volume.packed_file or not volume.filepath:
            continue
        path = absolute(volume.filepath, volume.library)
        if volume.is_sequence:
            yield from sequences.volume_sequence(volume, path, when)
        else:
            yield Found(path, "volume", volume.name)


def _cache_files(used: set[bpy.types.ID], when: Timing) -> Iterator[Found | Wild]:
    """Alembic and USD files, and what lies over them; a sequence of them has one file per frame."""
    for cache in of(used, "CacheFile"):
        path = absolute(cache.filepath, cache.library)
        if cache.is_sequence:
            yield from sequences.cache_sequence(cache, path, when)
        else:
            yield Found(path, "cache", cache.name)
        for layer in getattr(cache, "layers", ()):
            if not layer.hide_layer:
                yield Found(absolute(layer.filepath, cache.library), "cache", cache.name)


def _node_files(used: set[bpy.types.ID]) -> Iterator[Found]:
    kinds = {"ShaderNodeScript": "script", "ShaderNodeTexIES": "light"}
    for tree in trees(used):
        for node in tree.nodes:
            if node.bl_idname in kinds and node.mode == "EXTERNAL" and node.filepath:
                yield Found(absolute(node.filepath, tree.id_data.library), kinds[node.bl_idname], node.name)
            elif node.bl_idname.startswith("GeometryNodeImport") and node.inputs:
                linked = node.inputs[0].is_linked
                source = node.inputs[0].links[0].from_node if linked else node.inputs[0]
                typed = getattr(source, "string" if linked else "default_value", "")
                if typed:
                    yield Found(absolute(typed, tree.id_data.library), "cache", node.name)


def _modifier_files(used: set[bpy.types.ID], when: Timing) -> Iterator[Found | Wild]:
    for item in of(used, "Object"):
        for modifier in item.modifiers:
            name = f"{modifier.name} of {item.name}"
            if modifier.type == "MESH_CACHE" and modifier.filepath:
                yield Found(absolute(modifier.filepath, item.library), "cache", name)
            elif modifier.type == "OCEAN" and modifier.is_cached:
                yield Found(absolute(modifier.filepath, item.library), "simulation", name)
            elif modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
                yield from _fluid(modifier, item, name, when)
            elif modifier.type == "NODES":
                yield from _baked_nodes(modifier, item, name)


def _fluid(
    modifier: bpy.types.FluidModifier, item: bpy.types.Object, name: str, when: Timing
) -> Iterator[Found | Wild]:
    domain = modifier.domain_settings
    folder = absolute(domain.cache_directory, item.library)
    replayed = domain.cache_type == "REPLAY"
    if domain.domain_type == "GAS" and not replayed and domain.has_cache_baked_data and folder.exists():
        yield from sequences.gas(item, modifier, when)
    elif not replayed or folder.exists():
        yield Found(folder, "simulation", name)


def _baked_nodes(modifier: bpy.types.NodesModifier, item: bpy.types.Object, name: str) -> Iterator[Found]:
    """Without such a folder nothing is baked."""
    for _, folder in physics.bakes(modifier, item.library):
        if folder.exists():
            yield Found(folder, "simulation", name)


def _point_caches(scene: bpy.types.Scene) -> Iterator[Found]:
    """Physics baked to disk: a folder of its own, or the one that Blender names after the object's file."""
    for name, cache in physics.caches(scene):
        library = cache.id_data.library if cache.use_library_path else None
        stem = Path(library.filepath if library else bpy.data.filepath).stem
        if cache.use_external and cache.filepath:
            yield Found(absolute(cache.filepath, library), "simulation", name)
        elif cache.use_disk_cache and cache.is_baked:
            yield Found(absolute(f"//blendcache_{stem}", library), "simulation", name)


def _project() -> Iterator[Found | Wild]:
    """The project that the file is in, since 5.3: it lies in a folder above, and may choose all colours."""
    if not hasattr(bpy.data, "project"):
        return
    for folder in Path(bpy.data.filepath).parents:
        yield Wild(str(folder / PROJECT), "*")
    if project := bpy.data.project:
        yield Found(Path(project.root_path, PROJECT, "project.toml"), "project", project.name)
        if (config := project_colours()) and config.is_absolute():
            yield Found(config, "project", project.name)
            yield from (Found(path, "project", config.name) for path in _tables(config))


def project_colours() -> Path | None:
    """The project's own configuration of colours: a file, or a name of OpenColorIO's; others 5.3 skips."""
    project = getattr(bpy.data, "project", None)
    named = project.ocio_config_path if project and project.ocio_config != "BLENDER" else ""
    return Path(named) if named.startswith(("/", "ocio://")) else None


def _tables(config: Path) -> Iterator[Path]:
    """The folders in which a configuration of colours looks up its tables; its own unless it says which."""
    text = config.read_text("utf-8", "replace") if config.is_file() else ""
    named = [name for search in _SEARCHED.findall(text) for name in _NAME.findall(search)]
    return (Path(os.path.normpath(config.parent / name)) for name in named or ["."])


def _texture_caches(scene: bpy.types.Scene, found: dict[Path, Found]) -> set[Path]:
    """Folders beside pictures in which Cycles, since 5.2, looks for other copies of them."""
    if not getattr(scene.render, "use_texture_cache", False):
        return set()
    kinds = {"image", "sequence", "tiles"}
    return {path.parent / "blender_tx" for path, each in found.items() if each.kind in kinds}


def _others(used: set[bpy.types.ID]) -> Iterator[Path]:
    """Files that only Blender's own list knows: not unused ones, names of sequences, or its own brushes."""
    idle = {_raw_path(item) for item in bpy.data.user_map() if item not in used or _is_sequence(item)}
    own = Path(bpy.utils.system_resource("DATAFILES"))
    for path in bpy.utils.blend_paths(absolute=True, packed=False, local=False):
        file = Path(path)
        if file not in idle and own not in file.parents and file.is_file():
            yield file


def _is_sequence(item: bpy.types.ID) -> bool:
    return getattr(item, "source", "") == "SEQUENCE" or getattr(item, "is_sequence", False)


def _raw_path(item: bpy.types.ID) -> Path | None:
    raw = getattr(item, "filepath", "") or getattr(item, "icon_filepath", "")
    return absolute(raw, item.library) if raw else None
