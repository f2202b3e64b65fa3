"""The renderers that there are, a line for each; all else about one is in its module."""

from typing import NamedTuple


class Known(NamedTuple):
    """A renderer, as much of it as the command line must know."""

    module: str
    """below `renderfarm.renderers`; it has a `RENDERER`"""
    title: str
    """what people call it"""
    named: bool = True
    """users may name the program to use, by an option of the renderer's name"""


RENDERERS = {
    "blender": Known("blender.renderer", "Blender"),
    "povray": Known("povray.renderer", "POV-Ray"),
    "testcard": Known("testcard", "test card", named=False),
}
PROGRAMS = {name: known.title for name, known in RENDERERS.items() if known.named}
"""options that name a renderer's program, and what people call it"""
