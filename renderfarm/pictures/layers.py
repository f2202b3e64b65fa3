"""Which of a picture's channels are the picture: files hold layers, passes, views and parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import OpenImageIO

BEAUTY = frozenset(("beauty", "rgba", "rgb", "final", "finalimage", "image", "main", "default", "c", "ci"))
"""Names that programs give to the finished picture (Arnold, Nuke, V-Ray, RenderMan, Blender's File Output)."""
LETTERS = {"RED": "R", "GREEN": "G", "BLUE": "B", "ALPHA": "A"}
"""what Nuke calls channels of layers"""


@dataclass(frozen=True)
class Layer:
    """Red, green, blue and maybe alpha of one part of a file, as channel numbers; grey is one, three times."""

    part: int
    name: str
    """empty where the channels stand at the top"""
    channels: tuple[int, ...]

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return len(self.channels) == 4


def of_views(parts: Sequence[tuple[str, Sequence[str], str]], views: Sequence[str]) -> list[Layer]:
    """The finished picture of each view, the left or first one's first; parts may be of one view each.

    Where one part has several, it is a word of a channel's name (multi-view OpenEXR), which the first may lack.
    """
    wanted = sorted(views, key=lambda view: view != "left") or [""]
    found = (
        beauty(
            [(name, [c if _view(c, own, views) == view else "" for c in names]) for name, names, own in parts]
        )
        for view in wanted
    )
    return [layer for layer in found if layer]


def _view(channel: str, own: str, views: Sequence[str]) -> str:
    words = channel.split(".")[:-1]
    return own or next((view for view in views if view in words), views[0] if views else "")


def beauty(parts: Sequence[tuple[str, Sequence[str]]]) -> Layer | None:
    """The finished picture among parts, given as name and channel names; None where nothing has colours.

    First what stands at the top, then Blender's composite and combined passes, then what is called beauty or
    the like, then the first layer with red, green and blue; grey ones after all of these.
    """
    found = [layer for number, part in enumerate(parts) for layer in _layers(number, *part)]
    return min(found, key=_rank, default=None)


def _layers(number: int, part: str, names: Sequence[str]) -> Iterator[Layer]:
    for prefix in dict.fromkeys(name.rpartition(".")[0] for name in names):
        split = [name.rpartition(".") for name in names]
        ends = {i: letter.upper() for i, (where, _, letter) in enumerate(split) if where == prefix}
        own = {LETTERS.get(end, end): i for i, end in ends.items()}
        colours = [own[letter] for letter in "RGB" if letter in own]
        if len(colours) < 3:
            colours = [own["Y"]] * 3 if "Y" in own and not {"X", "Z"} & set(own) else []
        if colours:
            yield Layer(number, prefix or part, (*colours, *([own["A"]] if "A" in own else ())))


def _rank(layer: Layer) -> tuple[bool, int]:
    words = layer.name.lower().split(".")
    places = [not layer.name, words[0] == "composite", "combined" in words, bool(BEAUTY & set(words)), True]
    return layer.channels[0] == layer.channels[1], places.index(True)


def finished(source: OpenImageIO.ImageInput) -> list[Layer]:
    """The finished picture in an open file, of each view the left or first one's first."""
    count = source.spec().get_int_attribute("oiio:subimages", 1)
    specs = [source.spec(part, 0) for part in range(count)]
    source.seek_subimage(0, 0)  # asking for the others has moved it
    told = ("oiio:subimagename", "view")
    names, views = ([spec.get_string_attribute(key) for spec in specs] for key in told)
    several = list(dict.fromkeys(filter(None, views))) or specs[0].getattribute("multiView") or ()
    return of_views(list(zip(names, [spec.channelnames for spec in specs], views, strict=True)), several)
