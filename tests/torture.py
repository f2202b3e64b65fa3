"""`python -m tests.torture`: 40 kill rounds, 20 full disks, 100 edits, 2,000 made-up inputs, 200 stops."""

from __future__ import annotations

import sys

import pytest

TESTS = ("tests/test_torture.py", "tests/test_kill.py", "tests/test_moving_inputs.py", "tests/test_fuzz.py")

if __name__ == "__main__":
    sys.exit(pytest.main(["-m", "slow", "-q", "--durations=12", *TESTS, *sys.argv[1:]]))
