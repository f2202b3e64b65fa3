"""Starts the service, says where it is, and serves until stopped."""

from __future__ import annotations

import argparse
import gc
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from tests.batch_service.app import application
from tests.batch_service.app_context import build
from tests.batch_service.clock import Clock
from tests.batch_service.faults import Faults
from tests.batch_service.state import Service, Settings

ACCOUNT = "devbatch"
KEY = "cmVuZGVyZmFybSBkZXZlbG9wbWVudCBiYXRjaCBrZXkgLSBub3QgYSBzZWNyZXQgYXQgYWxsIC0gMDEyMzQ1Ng=="
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.batch_service", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default): a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--account", default=ACCOUNT, help=f"account name (default: {ACCOUNT})")
    parser.add_argument("--key", default=KEY, help=f"shared key in base64 (default: {KEY})")
    parser.add_argument("--root", type=Path, help="where the nodes' folders go (default: a temporary folder)")
    parser.add_argument("--speed", type=float, default=1.0, help="divides the service's own delays")
    parser.add_argument(
        "--autoscale-seconds", type=float, help="real seconds between evaluations, for all pools"
    )
    parser.add_argument("--path", action="append", default=[], help="a folder in front of the tasks' PATH")
    parser.add_argument("--storage-account", help="storage account that identityReference stands for")
    parser.add_argument("--storage-key", help="its key")
    return parser.parse_args(argv)


COLLECTOR = (50_000, 20, 100_000)
"""a full garbage collection over 100,000 tasks takes seconds; what is deleted here leaves no cycles"""


def serve(options: argparse.Namespace, root: Path) -> None:
    """Runs until SIGTERM or SIGINT; all processes of all nodes end with it."""
    search_path = ":".join([*options.path, SEARCH_PATH])
    settings = Settings(
        options.account,
        options.key,
        root.resolve(),
        search_path,
        options.storage_account,
        options.storage_key,
        options.autoscale_seconds,
    )
    gc.set_threshold(*COLLECTOR)
    service = Service(settings, Clock(options.speed), Faults())
    listener = socket.create_server((options.host, options.port), backlog=512)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    service.base = f"http://{options.host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        application(build(service)),
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
        lifespan="on",
        http="h11",
        h11_max_incomplete_event_size=256 * 1024,
    )
    sys.stdout.write(f"ready {service.base}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run([listener])


def main() -> None:
    options = arguments()
    if options.root is not None:
        options.root.mkdir(parents=True, exist_ok=True)
        serve(options, options.root)
        return
    with tempfile.TemporaryDirectory(prefix="batch-", ignore_cleanup_errors=True) as root:
        serve(options, Path(root))


if __name__ == "__main__":
    main()
