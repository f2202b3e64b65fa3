"""Other clients than ours against the local Batch service: older SDKs, the one for JavaScript, the Azure CLI.

Each is installed below `build/clients`, with its version pinned, the first time: minutes and hundreds of MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.batch_service.client import ACCOUNT, KEY, BatchService, unique

pytest_plugins = ["tests.batch_service.fixtures"]
pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(1800)]

CLIENTS = Path(__file__).parents[3] / "build" / "clients"
PROGRAMS = Path(__file__).parent / "real_clients"
INSTALL_SECONDS = 1200
CLI = "azure-cli==2.91.0"
JAVASCRIPT = "@azure/batch@10.2.0"
MACHINE = ["--vm-size", "Standard_D2s_v3", "--image", "canonical:ubuntu-24_04-lts:server"]
MACHINE += ["--node-agent-sku-id", "batch.node.ubuntu 24.04"]


def python_with(requirement: str) -> Path:
    """The Python of a venv that has it; skips where it can't be installed."""
    folder = CLIENTS / requirement.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        installed(str(python), "-m", "pip", "install", "--quiet", requirement)
        (folder / "whole").touch()
    return python


def installed(*argv: str, folder: Path | None = None) -> None:
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode:
        pytest.skip(f"can't be installed here: {done.stderr[-300:]}")


def ran(argv: list[str], **environment: str) -> None:
    """Run a client's program; it says what failed."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("version", ["13.0.0", "14.2.0"])
def test_older_python_sdks_spend_a_day(service: BatchService, version: str) -> None:
    python = python_with(f"azure-batch=={version}")
    ran([str(python), str(PROGRAMS / "sdk_13_14.py"), service.url, ACCOUNT, KEY])


@pytest.mark.skipif(not shutil.which("npm"), reason="needs npm")
def test_the_javascript_sdk_spends_a_day(service: BatchService) -> None:
    folder = CLIENTS / "javascript"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules" / "@azure" / "batch").exists():
        installed("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), JAVASCRIPT)
    modules = str(folder / "node_modules")
    ran(["node", str(PROGRAMS / "sdk.js"), service.url, ACCOUNT, KEY], NODE_PATH=modules)


def commands(pool: str, job: str) -> list[list[str]]:
    """What somebody types in a day, in order."""
    schedule = f"{pool}-schedule"
    echo = ["--task-id", "t", "--command-line", "/bin/sh -c 'echo hello'"]
    words = [
        ["pool", "create", "--id", pool, *MACHINE, "--target-dedicated-nodes", "1"],
        ["pool", "show", "--pool-id", pool],
        ["pool", "list"],
        ["pool", "node-counts", "list"],
        ["pool", "set", "--pool-id", pool, "--metadata", "a=b"],
        ["pool", "resize", "--pool-id", pool, "--target-dedicated-nodes", "2"],
        ["job", "create", "--id", job, "--pool-id", pool],
        ["job", "show", "--job-id", job],
        ["job", "set", "--job-id", job, "--priority", "5"],
        ["task", "create", "--job-id", job, *echo],
        ["task", "show", "--job-id", job, "--task-id", "t"],
        ["task", "list", "--job-id", job],
        ["task", "file", "list", "--job-id", job, "--task-id", "t"],
        ["job", "task-counts", "show", "--job-id", job],
        ["node", "list", "--pool-id", pool],
        ["job-schedule", "create", "--id", schedule, "--recurrence-interval", "PT10M", "--pool-id", pool],
        ["job-schedule", "delete", "--job-schedule-id", schedule, "--yes"],
        ["job", "stop", "--job-id", job],
        ["job", "delete", "--job-id", job, "--yes"],
        ["pool", "delete", "--pool-id", pool, "--yes"],
    ]
    return [["batch", *line] for line in words]


def test_the_azure_cli_spends_a_day(service: BatchService, tmp_path: Path) -> None:
    python = python_with(CLI)
    login = ["--account-name", ACCOUNT, "--account-key", KEY, "--account-endpoint", service.url]
    pool = unique("cli")
    for line in commands(pool, f"{pool}-job"):
        ran([str(python), "-m", "azure.cli", *line, *login], AZURE_CONFIG_DIR=str(tmp_path))
