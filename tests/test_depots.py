"""Every depot against the one contract: a folder, and a container as the farm and as nodes reach it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure_storage import new_storage
from depot_contract import (
    test_a_file_that_is_put_twice_has_the_later_bytes,
    test_a_file_that_one_got_may_be_renamed_away_and_got_again,
    test_a_listing_has_names_and_sizes_and_nothing_else,
    test_a_receipt_comes_with_its_file_and_only_with_it,
    test_lines_are_added_at_the_end_and_read_from_a_place_on,
    test_many_may_put_the_same_file_at_once_and_it_is_whole,
    test_what_is_not_there_is_neither_read_nor_got,
    test_what_is_removed_is_gone_with_its_receipt_and_may_be_removed_again,
    test_what_was_put_is_what_one_reads_and_gets,
)

from renderfarm.depots import Depot
from renderfarm.depots.blobs import BlobClient
from renderfarm.depots.folder import FolderDepot

__all__ = [
    "test_a_file_that_is_put_twice_has_the_later_bytes",
    "test_a_file_that_one_got_may_be_renamed_away_and_got_again",
    "test_a_listing_has_names_and_sizes_and_nothing_else",
    "test_a_receipt_comes_with_its_file_and_only_with_it",
    "test_lines_are_added_at_the_end_and_read_from_a_place_on",
    "test_many_may_put_the_same_file_at_once_and_it_is_whole",
    "test_what_is_not_there_is_neither_read_nor_got",
    "test_what_is_removed_is_gone_with_its_receipt_and_may_be_removed_again",
    "test_what_was_put_is_what_one_reads_and_gets",
]


@pytest.fixture(params=["folder", "farm", "node"])
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Depot]:
    if request.param == "folder":
        yield FolderDepot(tmp_path / "depot")
        return
    with contextlib.closing(new_storage()) as storage:
        room = f"{storage.prefix}-{secrets.token_hex(4)}"
        storage.ensure(room)
        if request.param == "farm":
            yield storage.at(room)
            return
        yield BlobClient(storage.sas_url(room, "rl", 600), writes=storage.sas_url(room, "cwd", 600))
