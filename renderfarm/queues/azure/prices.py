"""What nodes cost: a dated table of examples, the user's own over it, and the pool's own price over both.

Prices move, spot prices every day, so every amount says of when it is; it is an estimate, never a bill.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from renderfarm.errors import ConfigError
from renderfarm.queues.azure.settings import CloudSettings, HourlyPrice
from renderfarm.queues.site import Cost
from renderfarm.settings.config import FILE_NAME, user_file

USER_FILE = "prices.json"
"""beside the user's own configuration file"""


@dataclass(frozen=True)
class Table:
    """Prices per hour by VM size, in lower case."""

    currency: str
    dated: str
    sizes: Mapping[str, HourlyPrice] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    """of sizes that are newer than the table"""


def price(vm_size: str, spot: bool, settings: CloudSettings) -> float | None:
    """What one node costs per hour; None when nobody knows."""
    return _of(_row(vm_size, settings)[0], spot)


def estimate(seconds_total: float, settings: CloudSettings) -> Cost:
    """What so many seconds of work on one node come to, in the pool's own mixture of nodes.

    Nodes that wait, start or are kept cost as much as nodes that work; this counts only work.
    """
    spot_share = settings.maximum_spot / settings.nodes
    hours = seconds_total / 3600
    return spent(hours * spot_share, hours * (1 - spot_share), settings)


def spent(spot_hours: float, dedicated_hours: float, settings: CloudSettings) -> Cost:
    """What node-hours come to."""
    row, currency, dated = _row(settings.vm_size, settings)
    parts = [(spot_hours, _of(row, True)), (dedicated_hours, _of(row, False))]
    known = all(price is not None for hours, price in parts if hours)
    amount = sum(hours * (price or 0) for hours, price in parts) if known else None
    return Cost(spot_hours + dedicated_hours, amount, currency, dated)


def per_hour(spot_nodes: int, dedicated_nodes: int, settings: CloudSettings) -> Cost:
    """What so many nodes cost in an hour, whatever they do."""
    return spent(spot_nodes, dedicated_nodes, settings)


def _of(row: HourlyPrice | None, spot: bool) -> float | None:
    return None if row is None else row.spot if spot else row.dedicated


def _row(vm_size: str, settings: CloudSettings) -> tuple[HourlyPrice | None, str, str]:
    """The prices of a size, their currency and their date; the strongest table that has the size."""
    own = users_table()
    if settings.price_per_node_hour is not None:
        return settings.price_per_node_hour, (own or shipped_table()).currency, FILE_NAME
    size = vm_size.lower()
    table = own if own is not None and size in own.sizes else shipped_table()
    return table.sizes.get(size), table.currency, table.dates.get(size, table.dated)


@functools.cache
def shipped_table() -> Table:
    """The table of examples that comes with renderfarm."""
    text = importlib.resources.files(__package__).joinpath(USER_FILE).read_text(encoding="utf-8")
    return parse(text, USER_FILE)


def users_table() -> Table | None:
    """The user's own table, where there is one; raises ConfigError when it makes no sense."""
    path = user_prices()
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from error
    return parse(text, str(path))


def user_prices() -> Path:
    """Where the user's own prices are looked for."""
    return user_file().with_name(USER_FILE)


def parse(text: str, name: str) -> Table:
    """A table of prices; raises ConfigError."""
    example = '{"dated": "2026-11", "sizes": {"Standard_D8ads_v6": {"spot": 0.09, "dedicated": 0.45}}}'
    hint = f"It looks like: {example}"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name} is not JSON: {error}.", hint) from error
    if not isinstance(found, dict) or not isinstance(found.get("sizes"), dict):
        raise ConfigError(f"{name} has no sizes.", hint)
    sizes = {size.lower(): _prices(size, row, name, hint) for size, row in found["sizes"].items()}
    dates = {size.lower(): str(row["dated"]) for size, row in found["sizes"].items() if "dated" in row}
    return Table(str(found.get("currency", "USD")), str(found.get("dated", name)), sizes, dates)


def _prices(size: str, row: Any, name: str, hint: str) -> HourlyPrice:
    numbers = row if isinstance(row, dict) else {}
    spot, dedicated = numbers.get("spot"), numbers.get("dedicated")
    if (spot is None and dedicated is None) or not all(_is_price(p) for p in (spot, dedicated)):
        raise ConfigError(f"{name}: {size} has no price per hour.", hint)
    return HourlyPrice(spot=spot, dedicated=dedicated)


def _is_price(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0)


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
