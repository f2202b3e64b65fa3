"""Nobody here made these scenes: each renders as POV-Ray renders it by hand, or fails where that fails."""

from __future__ import annotations

import pytest

from renderfarm.node import sandbox
from renderfarm.renderers.povray.renderer import RENDERER
from tests import povray_examples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not povray_examples.EXAMPLES.is_dir(), reason="needs povray-examples"),
    pytest.mark.skipif(bool(sandbox.obstacle() or not RENDERER.builds()), reason="needs povray and bubblewrap"),
]


def test_every_example_of_debian_renders_as_by_hand() -> None:
    found = list(povray_examples.all_compared(povray_examples.names()))
    assert [each for each in found if not each.good] == []
    assert sum(each.outcome == "equal" for each in found) > len(found) // 2
