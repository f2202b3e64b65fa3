"""What users see of small jobs is what was recorded (`tests/golden`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import play, recorded, stories


@pytest.mark.parametrize("story", stories())
def test_a_small_job_looks_as_it_was_recorded(story: str, tmp_path: Path) -> None:
    assert play(story, tmp_path) == recorded(story).read_text()
