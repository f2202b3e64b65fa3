"""Saying yes for a test: what a file of a project says is allowed, as `renderfarm trust --yes` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderfarm.nightly import shots
from renderfarm.settings import config, trust


def trusted(path: Path, configuration: Path | None = None) -> Path:
    """Trust a file, for whoever has that configuration folder (default: this process); the file."""
    with pytest.MonkeyPatch.context() as patch:
        if configuration:
            patch.setenv("XDG_CONFIG_HOME", str(configuration))
        wish = config.wish(path) if path.name == config.FILE_NAME else shots.wish(path)
        trust.remember(wish, trust.look(wish))
    return path
