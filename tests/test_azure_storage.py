"""Blob storage through our adapter: a real Azurite, and services that misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from azure.core.credentials import AccessToken

from renderfarm.depots import listing
from renderfarm.depots.blobs import BlobClient, BlobMissingError
from renderfarm.errors import PoolError
from renderfarm.queues.azure import credentials
from renderfarm.queues.azure.storage import CONTRIBUTOR, LONGEST, Storage
from tests import azurite
from tests.azure_storage import account, asked, new_storage, scripted, whole
from tests.faulty_http import DROPPED, Answer, Faulty, certificate

ODD_NAME = "logs/f1/a b#?%41+ä.txt"


@pytest.fixture(scope="module")
def storage() -> Storage:
    """An account with one container."""
    made = new_storage()
    made.ensure(room_of(made))
    return made


def room_of(storage: Storage) -> str:
    return f"{storage.prefix}-room"


@pytest.fixture(scope="module")
def room(storage: Storage) -> BlobClient:
    return storage.at(room_of(storage))


def status_of(url: str, method: str = "GET", data: bytes | None = None) -> int:
    """What the service says to somebody who has nothing but the URL."""
    request = Request(url, data, {"x-ms-blob-type": "BlockBlob"} if data else {}, method=method)
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


# Containers


def test_ten_who_make_a_container_at_once_all_have_it_and_nobody_reads_it_without_a_signature(
    storage: Storage,
) -> None:
    name = f"{storage.prefix}-crowd"
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: storage.ensure(name), range(10)))
    assert name in storage.containers()
    storage.at(name).put("secret", b"x")
    assert status_of(f"{storage.url}/{name}/secret") in (403, 404)


def test_only_containers_with_the_prefix_are_listed_and_a_deleted_one_is_gone(storage: Storage) -> None:
    other, name = new_storage(), f"{storage.prefix}-gone"
    other.ensure(other.assets)
    storage.ensure(name)
    assert {name, room_of(storage)} <= set(storage.containers())
    assert other.assets not in storage.containers()
    assert [storage.delete_container(name), storage.delete_container(name)] == [True, False]
    assert name not in storage.containers()


# Blobs


def test_a_blob_that_must_be_new_is_neither_written_nor_committed_again(
    room: BlobClient,
) -> None:
    assert room.put("once", b"first", new=True)
    assert not room.put("once", b"second", new=True)
    room.stage("once", "00000", b"second")
    assert not room.commit("once", ["00000"])
    assert room.read("once") == b"first"


def test_what_is_not_there_is_neither_read_listed_seen_deleted_nor_renewed(
    storage: Storage, room: BlobClient
) -> None:
    nowhere = storage.at(f"{storage.prefix}-never")
    with pytest.raises(BlobMissingError, match=r"can't read .*/never"):
        room.read("never")
    with pytest.raises(BlobMissingError):
        list(nowhere.blobs())
    assert (room.stat("never"), nowhere.stat("never")) == (None, None)
    assert (room.delete("never"), room.touch("never")) == (False, False)


def test_a_look_at_a_blob_tells_size_time_and_metadata_and_a_listing_the_same_etag(room: BlobClient) -> None:
    room.put("marked", b"12345", "abc")
    blob = room.stat("marked")
    assert blob is not None
    told = {"receipt": "YWJj", "sha256": hashlib.sha256(b"12345").hexdigest()}
    assert (blob.name, blob.size, blob.metadata) == ("marked", 5, told)
    assert abs(blob.modified - room.now()) < timedelta(minutes=1)
    assert [listed.etag for listed in room.blobs("marked")] == [blob.etag]


def test_a_listing_of_several_pages_has_every_blob_once(
    room: BlobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    names = [f"pages/{letter} &?+ä" for letter in "abcde"]
    for name in names:
        room.put(name, b"x")
    assert [blob.name for blob in room.blobs("pages/")] == names
    assert [blob.name for blob in room.blobs(names[2])] == [names[2]]


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_names_that_xml_can_not_hold_are_decoded(mark: str) -> None:
    properties = (
        "<Last-Modified>Sun, 22 Nov 2026 19:00:00 GMT</Last-Modified><Content-Length>3</Content-Length>"
    )
    facts = f"<Properties>{properties}<Etag>0x1</Etag></Properties>"
    blob = f'<Blob><Name Encoded="true">a%EF%BF%BE</Name>{facts}</Blob>'
    xml = f'{mark}<?xml version="1.0" encoding="utf-8"?><R><Blobs>{blob}</Blobs><NextMarker/></R>'
    (found,) = listing.blobs(lambda marker: xml.encode())
    assert (found.name, found.size, found.etag) == ("a\ufffe", 3, '"0x1"')


def test_a_blob_is_deleted_only_as_it_was_seen(room: BlobClient) -> None:
    room.put("seen", b"x")
    (seen,) = room.blobs("seen")
    assert room.touch("seen")
    assert not room.delete("seen", etag=seen.etag)
    (again,) = room.blobs("seen")
    assert room.delete("seen", etag=again.etag)
    assert room.stat("seen") is None


def test_staged_blocks_are_no_blob_until_they_are_committed(room: BlobClient) -> None:
    room.stage("blocks", "00000", b"one")
    room.stage("blocks", "00001", b"two")
    assert room.stat("blocks") is None
    assert room.staged("blocks") == {"00000", "00001"}
    assert room.commit("blocks", ["00000", "00001"])
    assert room.read("blocks") == b"onetwo"


# Fetching


def test_many_threads_fetch_many_frames(room: BlobClient, tmp_path: Path) -> None:
    for number in range(8):
        room.put(f"many/{number}", b"%d" % number)

    def fetch(number: int) -> bytes:
        target = tmp_path / f"{number}.png"
        room.get(f"many/{number % 8}", target)
        return target.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch, range(80))) == [b"%d" % (number % 8) for number in range(80)]


def test_bytes_that_are_not_those_written_are_never_handed_over(tmp_path: Path) -> None:
    target = tmp_path / "out" / "f.png"
    target.parent.mkdir()
    with scripted([whole(b"other")]) as storage, pytest.raises(PoolError, match="came with the SHA-256"):
        storage.at("room").get("frame", target, hashlib.sha256(b"bytes").hexdigest())
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "trouble", [whole(b"busy", 503), whole(b"slow", 429), Answer(200, body=b"by", short=2)]
)
def test_a_fetch_that_goes_wrong_is_tried_again(trouble: Answer, tmp_path: Path) -> None:
    with scripted([trouble, trouble, whole(b"bytes")]) as storage:
        storage.at("room").get("frame", tmp_path / "f.png", hashlib.sha256(b"bytes").hexdigest())
    assert (tmp_path / "f.png").read_bytes() == b"bytes"


def test_a_connection_that_the_service_closed_in_the_meantime_costs_no_try() -> None:
    answers = [whole(b"1"), DROPPED, whole(b"2")]
    with Faulty(0, lambda _: answers.pop(0)) as port:
        room = account(f"http://127.0.0.1:{port}/{azurite.ACCOUNT}", pauses=()).at("room")
        assert [room.read("a"), room.read("a")] == [b"1", b"2"]


def test_a_service_that_stays_busy_can_not_be_reached(tmp_path: Path) -> None:
    with scripted([whole(b"busy", 503)]) as storage, pytest.raises(PoolError, match="answers 503"):
        storage.at("room").read("frame")


# Signatures


@pytest.mark.parametrize(
    ("rights", "reads", "lists", "writes"),
    [("rl", 200, 200, 403), ("cw", 403, 403, 201)],
    ids=["readers", "writers"],
)
def test_readers_and_writers_may_do_no_more_and_neither_may_delete(
    storage: Storage, room: BlobClient, rights: str, reads: int, lists: int, writes: int
) -> None:
    room.put("there", b"x")
    url = storage.sas_url(room_of(storage), rights, 60)
    base, _, query = url.partition("?")
    assert status_of(f"{base}/there?{query}") == reads
    assert status_of(f"{url}&restype=container&comp=list") == lists
    assert status_of(f"{base}/new-{rights}?{query}", "PUT", b"x") == writes
    assert status_of(f"{base}/there?{query}", "DELETE") == 403


def test_a_signature_is_for_one_container_or_one_blob_and_ends(storage: Storage, room: BlobClient) -> None:
    storage.ensure(storage.assets)
    storage.at(storage.assets).put("asset", b"x")
    query = storage.sas_url(room_of(storage), "r", 60).partition("?")[2]
    assert status_of(f"{storage.url}/{storage.assets}/asset?{query}") == 403
    for name in (ODD_NAME, "other"):
        room.put(name, b"x")
    url = storage.sas_url(room_of(storage), "r", 60, ODD_NAME)
    assert status_of(url) == 200
    assert status_of(f"{storage.url}/{room_of(storage)}/other?{url.partition('?')[2]}") == 403
    assert status_of(storage.sas_url(room_of(storage), "r", -1, "other")) == 403


def test_an_accounts_url_names_its_containers_in_the_host_style_and_signs_for_https_alone() -> None:
    url = account("https://farm.blob.core.windows.net/").sas_url("room", "r", 60, "in/job.json")
    assert url.startswith("https://farm.blob.core.windows.net/room/in/job.json?")
    assert "spr=https&" in url + "&"


def test_an_account_by_its_host_alone_is_asked_at_its_root() -> None:
    paths: list[str] = []
    empty = whole(b"<?xml version='1.0'?><EnumerationResults><Containers/><NextMarker/></EnumerationResults>")
    with Faulty(0, lambda request: paths.append(request.path) or empty) as port:
        assert list(account(f"http://127.0.0.1:{port}").containers()) == []
    assert paths[0].startswith("/?")


# What goes wrong


def test_a_wrong_key_names_the_variable_it_is_in() -> None:
    wrong = base64.b64encode(b"0" * 64).decode()
    with pytest.raises(PoolError, match="RENDERFARM_STORAGE_KEY") as caught:
        account(azurite.running_azurite().url, key=wrong).ensure("some-room")
    assert wrong not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("ask", [lambda s: s.at("room").read("b"), lambda s: list(s.at("room").blobs())])
def test_a_missing_role_comes_with_the_command_that_grants_it(ask: object) -> None:
    refused = whole(b"", 403, "AuthorizationPermissionMismatch")
    with scripted([refused]) as storage, pytest.raises(PoolError) as caught:
        ask(storage)
    assert f"az role assignment create --role '{CONTRIBUTOR}'" in caught.value.hint
    assert f"az storage account show -n {azurite.ACCOUNT}" in caught.value.hint


def test_a_container_that_is_being_deleted_is_told_and_who_makes_none_may_use_one_that_is_there() -> None:
    gone = [whole(b"", 409, "ContainerBeingDeleted"), whole(b"", 404, "ContainerNotFound")]
    with scripted(gone) as storage, pytest.raises(PoolError, match="wait a minute"):
        storage.ensure("some-room")
    with scripted([whole(b"", 403, "AuthorizationPermissionMismatch"), whole(b"")]) as storage:
        storage.ensure("some-room")


def closed_port() -> int:
    with scripted([whole(b"")]) as storage:
        return int(storage.url.split(":")[2].split("/")[0])


@pytest.mark.parametrize("ask", [lambda s: s.at("room").read("b"), lambda s: s.ensure("room")])
def test_a_service_that_is_not_there_is_told_by_its_address(ask: object) -> None:
    port = closed_port()
    with pytest.raises(PoolError, match=f"127.0.0.1:{port} can't be reached"):
        ask(account(f"http://127.0.0.1:{port}/{azurite.ACCOUNT}", pauses=()))


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda s: s.at("room").read("b"), "room/b"),
        (lambda s: s.ensure("room"), "room"),
        (lambda s: list(s.containers()), r"no-such-farm\.invalid"),
    ],
)
def test_an_account_that_nobody_knows_is_told_as_that(ask: object, what: str) -> None:
    with pytest.raises(PoolError, match=rf"There is no storage account at .* with {what}\."):
        ask(account("https://no-such-farm.invalid", pauses=()))


def test_no_signature_is_in_any_error(tmp_path: Path) -> None:
    away = account(f"http://127.0.0.1:{closed_port()}/{azurite.ACCOUNT}", pauses=())
    there = new_storage()
    there.ensure(there.assets)
    failures = (
        lambda: away.at("room").read("b"),
        lambda: away.at("room").get("b", tmp_path / "f"),
        lambda: there.at(there.assets).read("b"),
    )
    for fail in failures:
        with pytest.raises(PoolError) as caught:
            fail()
        told = [str(caught.value), repr(caught.value), repr(caught.getrepr(chain=True, style="short"))]
        chain, error = [], caught.value
        while error is not None:
            chain.append(str(error))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        assert "sig=" not in "".join([*told, *chain]).replace("sig=***", "")


# With an identity instead of a key


class Somebody:
    """A user of Microsoft Entra ID, as far as Azurite looks."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows-ppe.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3600,
            "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
            "tid": "dd0d0df1-06c3-436c-8034-4b9a153097ce",
        }
        signed = ".".join(
            _base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        mark = hmac.new(b"key", signed.encode(), "sha256").digest()
        return AccessToken(f"{signed}.{_base64(mark)}", now + 3600)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An Azurite with TLS, used by somebody who has no account key."""
    folder = tmp_path_factory.mktemp("tls")
    tls = certificate(folder)
    with azurite.Azurite(folder / "azurite", tls=tls) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(credentials, "default_credential", Somebody)
        patch.setenv(credentials.CA_BUNDLE, str(tls[0]))
        made = account(server.url, key="", pauses=())
        made.ensure(made.assets)
        made.at(made.assets).put("a", b"x")
        yield made


def test_without_a_key_a_user_delegation_key_signs(keyless: Storage) -> None:
    url = keyless.sas_url(keyless.assets, "r", 60)
    assert "skoid=" in url
    assert "spr=https&" in url
    assert BlobClient(url, wire=keyless._wire).read("a") == b"x"


def test_what_a_user_delegation_key_signs_ends_within_a_week(keyless: Storage) -> None:
    url = keyless.sas_url(keyless.assets, "r", 30 * 24 * 3600)
    terms = dict(part.split("=", 1) for part in url.partition("?")[2].split("&"))
    end = datetime.fromisoformat(terms["se"].replace("%3A", ":")).astimezone(UTC)
    assert end <= datetime.now(UTC) + LONGEST


def test_a_user_delegation_key_is_asked_for_once(keyless: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked(keyless, monkeypatch)
    keyless._delegation.forget()
    assert len({keyless.sas_url(keyless.assets, "r", 60 * minutes) for minutes in range(1, 5)}) == 4
    assert len(seen) == 1
