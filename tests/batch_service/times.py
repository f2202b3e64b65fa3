"""Instants and durations as Batch writes them: RFC 3339 with seven decimals, and ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

NO_LIMIT = "P10675199DT2H48M5.4775807S"
"""The service's "no limit": the longest span that .NET can hold."""

LONGEST = timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477580)

_DURATION = re.compile(
    r"(?P<sign>-)?P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)


def parse_duration(text: str) -> timedelta:
    """An ISO 8601 duration; a year counts 365 days and a month 30; ValueError when it is none."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or text.strip() in ("P", "-P"):
        raise ValueError(f"not an ISO 8601 duration: {text!r}")
    part = {name: float(value) for name, value in found.groupdict(default="0").items() if name != "sign"}
    days = part["years"] * 365 + part["months"] * 30 + part["weeks"] * 7 + part["days"]
    try:
        span = timedelta(days=days, hours=part["hours"], minutes=part["minutes"], seconds=part["seconds"])
    except OverflowError:
        raise ValueError(f"a duration beyond {NO_LIMIT}: {text!r}") from None
    if span > LONGEST + timedelta(microseconds=10):
        raise ValueError(f"a duration beyond {NO_LIMIT}: {text!r}")
    return -span if found["sign"] else span


def format_duration(span: timedelta) -> str:
    """The shortest ISO 8601 form: PT15M, P7D, PT0S; the longest span reads as the service writes it."""
    if span >= LONGEST:
        return NO_LIMIT
    if span < timedelta(0):
        return "-" + format_duration(-span)
    minutes, seconds = divmod(span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{span.microseconds:06}".rstrip("0") if span.microseconds else ""
    clock = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M")) if value)
    if seconds or fraction:
        clock += f"{seconds}{fraction}S"
    day = f"{span.days}D" if span.days else ""
    return f"P{day}T{clock}" if clock else f"P{day or 'T0S'}"


def format_time(moment: datetime) -> str:
    """`2026-11-22T19:00:00.1234567Z`; a naive moment counts as UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06}0Z"


def now_text() -> str:
    return format_time(datetime.now(UTC))


def parse_time(text: str) -> datetime:
    """An aware UTC moment; digits beyond the microsecond are cut; ValueError when it is no time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not an ISO 8601 time: {text!r}")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    microsecond = int((fraction or "")[:6].ljust(6, "0"))
    moment = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), microsecond, UTC
    )
    return moment - _offset(zone)


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone in "Zz":
        return timedelta(0)
    digits = zone[1:].replace(":", "")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -span if zone[0] == "-" else span
