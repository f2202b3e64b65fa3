"""The SharedKey signature of Azure Batch: what a client signs, and whether it is right."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import product

MAX_SKEW = timedelta(minutes=15)
SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
Query = Sequence[tuple[str, str]]

_AUTHORIZATION = re.compile(r"SharedKey\s+([^:\s]+):(\S+)", re.IGNORECASE)


def verify(
    method: str,
    raw_path: str,
    query: Query,
    headers: Mapping[str, str],
    account: str,
    key: str,
    body_length: int,
    *,
    now: datetime | None = None,
) -> bool:
    """Whether the request carries this account's signature and a date at most a quarter of an hour off.

    `raw_path` as it was on the request line, still percent-encoded; `query` decoded.
    """
    own = _lower(headers)
    found = _AUTHORIZATION.fullmatch(own.get("authorization", "").strip())
    if found is None or found[1].lower() != account.lower() or not _is_recent(own, now or datetime.now(UTC)):
        return False
    given = found[2].encode()
    texts = _spellings(method, raw_path, query, own, found[1], body_length)
    return any(hmac.compare_digest(_digest(text, key), given) for text in texts)


def sign(
    method: str,
    raw_path: str,
    query: Query,
    headers: Mapping[str, str],
    account: str,
    key: str,
    body_length: int,
) -> str:
    """The value for the Authorization header; ValueError when the key is no base64."""
    text = next(_spellings(method, raw_path, query, _lower(headers), account, body_length))
    return f"SharedKey {account}:{_digest(text, key).decode()}"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _is_recent(headers: Mapping[str, str], now: datetime) -> bool:
    try:
        moment = parsedate_to_datetime(headers.get("ocp-date") or headers.get("date", ""))
    except (ValueError, TypeError):
        return False
    return abs(now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))) <= MAX_SKEW


def _spellings(
    method: str, raw_path: str, query: Query, headers: dict[str, str], account: str, body_length: int
) -> Iterator[str]:
    """The texts that clients of this service sign for one request, the Python SDK's own first.

    They differ in the length of an empty body, in whether Date counts beside ocp-date, and in the case of
    query names.
    """
    lengths = _lengths(method, headers, body_length)
    dates = dict.fromkeys((headers.get("date", ""), "" if "ocp-date" in headers else headers.get("date", "")))
    queries = dict.fromkeys((_query_text(query), _query_text([(name.lower(), value) for name, value in query])))
    ocp = "".join(
        f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("ocp-") and value
    )
    for length, date, asked in product(lengths, dates, queries):
        values = headers | {"content-length": length, "date": date}
        lines = "\n".join(values.get(name, "") for name in SIGNED_HEADERS)
        yield f"{method.upper()}\n{lines}\n{ocp}/{account}{raw_path}{asked}"


def _lengths(method: str, headers: Mapping[str, str], body_length: int) -> tuple[str, ...]:
    sent = headers.get("content-length", "")
    if body_length:
        return (sent or str(body_length),)
    return (sent, "", "0") if method.upper() in ("GET", "HEAD") else (sent or "0", "")


def _query_text(query: Query) -> str:
    """One line per name that has a value, the first value where a name comes twice."""
    first: dict[str, str] = {}
    for name, value in query:
        if value:
            first.setdefault(name, value)
    return "".join(f"\n{name}:{first[name]}" for name in sorted(first))


def _digest(text: str, key: str) -> bytes:
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error:
        raise ValueError("the account key is not base64") from None
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest())
