"""What nodes cost: a dated table of examples, the user's own over it, and the pool's own price over both.

Prices move, spot prices every day, so every amount says of when it is; it is an estimate, never a bill.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from typing import Any

from renderfarm.errors import ConfigError
from renderfarm.queues.azure.settings import CloudSettings, HourlyPrice
from renderfarm.queues.remote_side import Cost
from renderfarm.settings.config import FILE_NAME, user_file
from renderfarm.words.as_json import decode, read_json
from renderfarm.words.status import Status

USER_FILE = "prices.json"
"""beside the user's own configuration file"""
EXAMPLE = '{"dated": "2026-11", "sizes": {"Standard_D8ads_v6": {"spot": 0.09, "dedicated": 0.45}}}'


@dataclass(frozen=True)
class Rate:
    """What nodes of one size cost per hour."""

    price: HourlyPrice
    currency: str = "USD"
    dated: str = ""


def estimate(seconds_total: float, settings: CloudSettings) -> Cost:
    """What so many seconds of work on one node come to, in the pool's own mixture of nodes.

    Nodes that wait, start or are kept cost as much as nodes that work; this counts only work.
    """
    spot_share = settings.maximum_spot / settings.nodes
    hours = seconds_total / 3600
    return spent(hours * spot_share, hours * (1 - spot_share), settings)


def spent(spot_hours: float, dedicated_hours: float, settings: CloudSettings) -> Cost:
    """What node-hours come to."""
    rate = _rate(settings)
    parts = [(spot_hours, rate.price.spot), (dedicated_hours, rate.price.dedicated)]
    known = all(price is not None for hours, price in parts if hours)
    amount = sum(hours * (price or 0) for hours, price in parts) if known else None
    return Cost(spot_hours + dedicated_hours, amount, rate.currency, rate.dated)


def paid(spans: Mapping[str, tuple[float, float]], status: Status, settings: CloudSettings) -> Status:
    """A status with what its nodes cost from when to when they were heard of."""
    spot, dedicated = (
        sum(last - first for node, (first, last) in spans.items() if node.endswith(kind)) / 3600
        for kind in ("-spot", "-dedicated")
    )
    cost = spent(spot, dedicated, settings)
    notes = (*status.notes, *filter(None, [unpriced(settings)]))
    hours = round(cost.node_hours, 4)
    return replace(status, node_hours=hours, cost=cost.amount, currency=cost.currency, notes=notes)


def _rate(settings: CloudSettings) -> Rate:
    """The rate of the pool's size, from the strongest table that has it."""
    users = user_file().with_name(USER_FILE)
    own = _table(users) if users.is_file() else {}
    if settings.price_per_node_hour is not None:
        currency = next((rate.currency for rate in own.values()), Rate.currency)
        return Rate(settings.price_per_node_hour, currency, FILE_NAME)
    return (shipped() | own).get(settings.vm_size.lower(), Rate(HourlyPrice()))


@functools.cache
def shipped() -> dict[str, Rate]:
    """The table of examples that comes with renderfarm."""
    return _table(importlib.resources.files(__package__).joinpath(USER_FILE))


def _table(file: Traversable) -> dict[str, Rate]:
    """Rates by VM size in lower case; one newer than its table has its own date. Raises ConfigError."""
    try:
        found = read_json(dict[str, Any], file.read_text(encoding="utf-8"))
        currency, dated = str(found.get("currency", Rate.currency)), str(found.get("dated", file.name))
        rows = found["sizes"].items()
        return {size.lower(): Rate(_price(row), currency, str(row.get("dated", dated))) for size, row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{file} is no table of prices per hour: {type(error).__name__}: {error}."
        raise ConfigError(message, f"It looks like: {EXAMPLE}") from error


def _price(row: object) -> HourlyPrice:
    """Prices of one size; raises ValueError."""
    found = decode(HourlyPrice, row)
    known = [price for price in vars(found).values() if price is not None]
    if not known or min(known) < 0:
        raise ValueError(f"{row!r} has no price")
    return found


_RETIRING = (
    (re.compile(r"standard_ds?\d+(-\d+)?(_v2)?(_promo)?"), "D, DS, Dv2 and DSv2", "2028-05-01"),
    (re.compile(r"standard_f\d+s?(_v2)?"), "F, Fs and Fsv2", "2028-11-15"),
    (re.compile(r"standard_l\d+s(_v2)?"), "Ls and Lsv2", "2028-11-15"),
    (re.compile(r"standard_b\d+[a-z]*"), "B", "2028-11-15"),
    (re.compile(r"standard_(hb120(-\d+)?rs_v2|hc44(-\d+)?rs|np\d+s)"), "HBv2, HC and NP", ""),
    (re.compile(r"standard_nc\d+r?s_v3"), "NCv3", ""),
)
"""sizes that Azure has announced to retire, as of 2026-11, and until when they are there where that is said"""


def retiring(vm_size: str) -> str | None:
    """What to know of a size that Azure retires; None for the others."""
    for pattern, series, until in _RETIRING:
        if pattern.fullmatch(vm_size.lower()):
            when = f"on {until}" if until else "soon"
            return f"Azure retires the series {series} {when}: choose another vm_size than {vm_size} in time"
    return None


def unpriced(settings: CloudSettings) -> str | None:
    """Which key gives a price to a size that has none; None where there is one."""
    if estimate(3600, settings).amount is not None:
        return None
    return f"no price of {settings.vm_size} is known: set price_per_node_hour in [pools.{settings.name}]"
