"""Packs the node program into one zipapp file that any Python >= 3.10 runs."""

from __future__ import annotations

import tempfile
import zipapp
from pathlib import Path
from shutil import copytree, ignore_patterns

PARTS = ("errors.py", "model.py", "renderers", "node")
"""All that a node needs of the package"""


def build(target: Path) -> Path:
    """Write the archive; `python target run DESCRIPTION.json` then renders a task."""
    package = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "renderfarm"
        inside.mkdir()
        (inside / "__init__.py").write_text('"""The part of renderfarm that runs on nodes."""\n')
        for part in PARTS:
            source = package / part
            if source.is_dir():
                copytree(source, inside / part, ignore=ignore_patterns("__pycache__"))
            else:
                (inside / part).write_bytes(source.read_bytes())
        main = "import sys\nfrom renderfarm.node.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
        (Path(folder) / "__main__.py").write_text(main)
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
    return target
