"""The local Batch service's check of signatures, against what the Azure SDK signs; and its times."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from azure.batch._patch import BatchSharedKeyAuthPolicy
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from hypothesis import given
from hypothesis import strategies as st

from tests.batch_service.shared_key import sign, verify
from tests.batch_service.times import (
    NO_LIMIT,
    format_duration,
    format_time,
    now_text,
    parse_duration,
    parse_time,
)

ACCOUNT = "farm"
KEY = base64.b64encode(b"a key of the farm").decode()
HOST = "http://127.0.0.1:1"

Signed = tuple[str, str, list[tuple[str, str]], dict[str, str], int]


def signed_by_the_sdk(
    method: str, target: str, json: Any = None, headers: dict[str, str] | None = None
) -> Signed:
    request = HttpRequest(method, HOST + target, json=json, headers=headers)
    policy = BatchSharedKeyAuthPolicy(AzureNamedKeyCredential(ACCOUNT, KEY))
    policy.on_request(PipelineRequest(request, PipelineContext(None)))
    url = urlsplit(request.url)
    return (
        method,
        url.path,
        parse_qsl(url.query),
        dict(request.headers),
        int(request.headers.get("Content-Length", 0)),
    )


def is_right(signed: Signed, account: str = ACCOUNT, key: str = KEY) -> bool:
    method, path, query, headers, length = signed
    return verify(method, path, query, headers, account, key, length)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
class TestRequestsSignedByTheSdk:
    @pytest.mark.parametrize(
        ("method", "target", "json", "headers"),
        [
            ("GET", "/pools?api-version=2025-06-01", None, {}),
            ("GET", "/jobs/j/tasks?$filter=state%20eq%20%27completed%27&$select=id,state", None, {}),
            ("GET", "/jobs/j/tasks/t/files/wd%2Fout%20put.txt", None, {"ocp-range": "bytes=0-9"}),
            ("GET", "/pools?api-version=2025-06-01&timeOut=30&maxresults=10", None, {}),
            ("POST", "/pools", {"id": "p"}, {"Content-Type": "application/json; odata=minimalmetadata"}),
            ("POST", "/jobs/j/terminate?force=true&api-version=2025-06-01", None, {}),
            ("DELETE", "/jobs/j?api-version=2025-06-01", None, {"If-Match": '"0x8DD"'}),
            ("HEAD", "/pools/p", None, {"If-Modified-Since": "Sun, 22 Nov 2026 19:00:00 GMT"}),
            ("PATCH", "/account-prefix/jobs/j", {"priority": 1}, {"client-request-id": "x"}),
        ],
    )
    def test_are_accepted(self, method: str, target: str, json: Any, headers: dict[str, str]) -> None:
        assert is_right(signed_by_the_sdk(method, target, json, headers))

    def test_are_signed_the_same_here(self) -> None:
        method, path, query, headers, length = signed_by_the_sdk(
            "POST", "/jobs?api-version=2025-06-01", {"id": "j"}
        )
        assert sign(method, path, query, headers, ACCOUNT, KEY, length) == headers["Authorization"]

    def test_are_refused_with_another_key(self) -> None:
        assert not is_right(signed_by_the_sdk("GET", "/pools"), key=base64.b64encode(b"another").decode())

    def test_are_refused_for_another_account(self) -> None:
        assert not is_right(signed_by_the_sdk("GET", "/pools"), account="other")

    @pytest.mark.parametrize("changed", ["method", "path", "query", "header", "length"])
    def test_are_refused_when_something_was_changed(self, changed: str) -> None:
        method, path, query, headers, length = signed_by_the_sdk(
            "POST", "/jobs?api-version=2025-06-01", {"id": "j"}
        )
        changes: dict[str, Signed] = {
            "method": ("PUT", path, query, headers, length),
            "path": (method, "/pools", query, headers, length),
            "query": (method, path, [*query, ("force", "true")], headers, length),
            "header": (method, path, query, {**headers, "ocp-range": "bytes=0-1"}, length),
            "length": (method, path, query, {**headers, "Content-Length": "99"}, 99),
        }
        assert not is_right(changes[changed])

    def test_are_refused_a_quarter_of_an_hour_later(self) -> None:
        method, path, query, headers, length = signed_by_the_sdk("GET", "/pools")
        later = datetime.now(UTC) + timedelta(minutes=16)
        assert not verify(method, path, query, headers, ACCOUNT, KEY, length, now=later)


@pytest.mark.parametrize(
    "authorization", ["", "SharedKey farm", "SharedKey farm:", "Bearer x", "SharedKey farm:AAAA"]
)
def test_a_malformed_authorization_is_refused(authorization: str) -> None:
    headers = {"authorization": authorization, "ocp-date": "Sun, 22 Nov 2026 19:00:00 GMT"}
    moment = datetime(2026, 11, 22, 19, tzinfo=UTC)
    assert not verify("GET", "/pools", [], headers, ACCOUNT, KEY, 0, now=moment)


def test_a_request_without_a_date_is_refused() -> None:
    assert not verify(
        "GET", "/pools", [], {"Authorization": sign("GET", "/pools", [], {}, ACCOUNT, KEY, 0)}, ACCOUNT, KEY, 0
    )


def test_a_request_dated_by_the_date_header_is_accepted() -> None:
    headers = {"Date": "Sun, 22 Nov 2026 19:00:00 GMT"}
    headers["Authorization"] = sign("GET", "/pools", [], headers, ACCOUNT, KEY, 0)
    moment = datetime(2026, 11, 22, 19, 1, tzinfo=UTC)
    assert verify("GET", "/pools", [], headers, ACCOUNT, KEY, 0, now=moment)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("PT15M", timedelta(minutes=15)),
        ("P7D", timedelta(days=7)),
        ("PT0S", timedelta(0)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("P2W", timedelta(weeks=2)),
        ("PT90M", timedelta(minutes=90)),
        ("-PT5S", timedelta(seconds=-5)),
    ],
)
def test_durations_are_read(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "P", "PT", "15M", "PT15", "P1S", "1 hour", "P10675200D", "P99999999999D"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_the_longest_duration_comes_back_as_it_was() -> None:
    assert format_duration(parse_duration(NO_LIMIT)) == NO_LIMIT


@given(st.timedeltas(timedelta(0), timedelta(days=10_000_000)))
def test_durations_come_back_as_they_were(span: timedelta) -> None:
    assert abs(parse_duration(format_duration(span)) - span) <= timedelta(microseconds=1)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_come_back_as_they_were(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


def test_times_have_seven_decimals_and_a_z() -> None:
    assert format_time(datetime(2026, 11, 22, 19, 0, 0, 123456, tzinfo=UTC)) == "2026-11-22T19:00:00.1234560Z"
    assert len(now_text()) == 28


def test_times_with_an_offset_are_read_as_utc() -> None:
    assert parse_time("2026-11-22T21:30:00+02:30") == datetime(2026, 11, 22, 19, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "now", "2026-13-01T00:00:00Z", "22.11.2026"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_time(text)
