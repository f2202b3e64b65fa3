"""Records the golden suite from the version at hand."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.golden import play, recorded, stories

for story in stories():
    with tempfile.TemporaryDirectory() as folder:
        recorded(story).write_text(play(story, Path(folder).resolve()))
