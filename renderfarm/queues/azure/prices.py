"""What nodes cost: a dated table of examples, the user's own over it, and the pool's own price over both.

Prices move, spot prices every day, so every amount says of when it is; it is an estimate, never a bill.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
class Table:
    """Prices per hour by VM size, in lower case."""

    currency: str
    dated: str
    sizes: Mapping[str, tuple[HourlyPrice, str]]
    """a size that is newer than the table has its own date"""


def estimate(seconds_total: float, settings: CloudSettings) -> Cost:
    """What so many seconds of work on one node come to, in the pool's own mixture of nodes.

    Nodes that wait, start or are kept cost as much as nodes that work; this counts only work.
    """
    spot_share = settings.maximum_spot / settings.nodes
    hours = seconds_total / 3600
    return spent(hours * spot_share, hours * (1 - spot_share), settings)


def spent(spot_hours: float, dedicated_hours: float, settings: CloudSettings) -> Cost:
    """What node-hours come to."""
    row, currency, dated = _row(settings)
    parts = [(spot_hours, row.spot), (dedicated_hours, row.dedicated)]
    known = all(price is not None for hours, price in parts if hours)
    amount = sum(hours * (price or 0) for hours, price in parts) if known else None
    return Cost(spot_hours + dedicated_hours, amount, currency, dated)


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


def _row(settings: CloudSettings) -> tuple[HourlyPrice, str, str]:
    """The prices of the pool's size, their currency and their date; from the strongest table that has it."""
    own, shipped, size = users_table(), shipped_table(), settings.vm_size.lower()
    if settings.price_per_node_hour is not None:
        return settings.price_per_node_hour, (own or shipped).currency, FILE_NAME
    table = own if own is not None and size in own.sizes else shipped
    price, dated = table.sizes.get(size, (HourlyPrice(), table.dated))
    return price, table.currency, dated


@functools.cache
def shipped_table() -> Table:
    """The table of examples that comes with renderfarm."""
    text = importlib.resources.files(__package__).joinpath(USER_FILE).read_text(encoding="utf-8")
    return _parse(text, USER_FILE)


def users_table() -> Table | None:
    """The user's own table, where there is one; raises ConfigError when it makes no sense."""
    path = user_file().with_name(USER_FILE)
    if not path.is_file():
        return None
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from error


def _parse(text: str, name: str) -> Table:
    try:
        found = read_json(dict[str, Any], text)
        dated, rows = str(found.get("dated", name)), found["sizes"].items()
        sizes = {size.lower(): (_price(row), str(row.get("dated", dated))) for size, row in rows}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{name} is no table of prices per hour: {type(error).__name__}: {error}."
        raise ConfigError(message, f"It looks like: {EXAMPLE}") from error
    return Table(str(found.get("currency", "USD")), dated, sizes)


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
