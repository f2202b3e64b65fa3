"""Foreign text as a line that a terminal takes for no orders."""

from __future__ import annotations


def clean(text: str) -> str:
    """Text with every character that could move a cursor or break a line made visible."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )
