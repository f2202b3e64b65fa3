"""What a `[pools.NAME]` table of type `azure-batch` says, checked once and before anything is asked of Azure.

Nothing here is a secret: URLs that carry a user name, a key or a query are refused, keys come from the
environment (`credentials`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from urllib.parse import SplitResult, urlsplit

from renderfarm.errors import ConfigError
from renderfarm.queues.azure.clouds import is_batch, is_loopback, is_storage
from renderfarm.settings.config import FILE_NAME, user_file
from renderfarm.settings.options import AFTER, nearest, user_path
from renderfarm.settings.pool import PoolConfig

KEEP, RESIZE, DELETE = AFTER
"""What becomes of the pool when a job has ended."""
MOST_NODES = 10_000
MOST_SLOTS = 256
"""of a node: Batch allows at most min(4 x cores, 256)"""
LONGEST_POLL_SECONDS = 3600.0
LONGEST_JOB_HOURS = 167
"""a user-delegation SAS lives seven days at most, and must outlive the job's last upload"""

_POOL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PREFIX = re.compile(r"(?=.{1,20}\Z)[a-z0-9]+(-[a-z0-9]+)*")
_VM_SIZE = re.compile(r"[A-Za-z0-9_]{1,80}")
_IMAGE = re.compile(r"[^:/\s]+:[^:/\s]+:[^:/\s]+(:[^:/\s]+)?|/subscriptions/\S+")
_SUBNET = re.compile(r"/subscriptions/[^/\s]+/.*/virtualNetworks/[^/\s]+/subnets/[^/\s]+", re.IGNORECASE)
_IDENTITY = re.compile(
    r"/subscriptions/(?P<subscription>[^/\s]+)/resourceGroups/(?P<group>[^/\s]+)"
    r"/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/\s]+",
    re.IGNORECASE,
)
_EXAMPLES = {
    "batch_url": 'batch_url = "https://myfarm.westeurope.batch.azure.com"',
    "storage_url": 'storage_url = "https://myfarm.blob.core.windows.net"',
    "vm_size": 'vm_size = "Standard_D8ads_v6"',
    "batch_account": 'batch_account = "myfarm"',
    "storage_account": 'storage_account = "myfarm"',
}


@dataclass(frozen=True)
class HourlyPrice:
    """What a node costs per hour; None where nobody knows."""

    spot: float | None = None
    dedicated: float | None = None


@dataclass(frozen=True)
class CloudSettings:
    """One Azure Batch pool and the storage it works with."""

    name: str
    """of the table; what `--pool` takes"""
    batch_url: str
    storage_url: str
    batch_account: str
    storage_account: str
    vm_size: str
    prefix: str = "renderfarm"
    """of container names"""
    pool_id: str = "renderfarm"
    nodes: int = 10
    """the most nodes, spot and dedicated together"""
    dedicated_nodes: int = 0
    """how many of them are dedicated; without spot all are"""
    spot: bool = True
    slots_per_node: int = 1
    image: str | None = None
    """publisher:offer:sku[:version], or the resource id of an image; None: looked up"""
    node_agent: str | None = None
    """node agent of an image that is given by its resource id"""
    container_image: str | None = None
    start_task: str | None = None
    """path of the user's own script, run after ours"""
    renderer: tuple[str, ...] = ()
    """packages, `distribution` or `image`; empty: what the scene needs"""
    network: str | None = None
    """resource id of a subnet"""
    identity: str | None = None
    """resource id of a user-assigned managed identity, for nodes without SAS"""
    identity_client_id: str | None = None
    subscription: str | None = None
    """of the Batch account, for pools with an identity; default: the identity's"""
    resource_group: str | None = None
    price_per_node_hour: HourlyPrice | None = None
    after: str = KEEP
    auto_pool: bool = False
    """a pool of its own for each job, gone with it"""
    autoscale: bool = True
    poll_seconds: float = 5.0
    job_hours: float = 72.0
    """the longest that a job may take; tokens for storage live as long"""

    @property
    def maximum_dedicated(self) -> int:
        """The most dedicated nodes."""
        return min(self.dedicated_nodes, self.nodes) if self.spot else self.nodes

    @property
    def maximum_spot(self) -> int:
        """The most spot nodes."""
        return self.nodes - self.maximum_dedicated


KEYS = tuple(field.name for field in fields(CloudSettings) if field.name != "name")
"""What the table may say."""


def read(config: PoolConfig) -> CloudSettings:
    """A pool's settings; raises ConfigError that names table and key."""
    table = _Table(config)
    table.refuse_unknown()
    batch_url, storage_url = table.url("batch_url", is_batch), table.url("storage_url", is_storage)
    settings = CloudSettings(
        name=config.name,
        batch_url=batch_url,
        storage_url=storage_url,
        batch_account=table.account("batch_account", batch_url, ".batch."),
        storage_account=table.account("storage_account", storage_url, ".blob."),
        vm_size=table.matching("vm_size", _VM_SIZE, "the name of a VM size") or table.lacks("vm_size"),
        prefix=table.matching("prefix", _PREFIX, "1 to 20 of a-z, 0-9 and single hyphens") or "renderfarm",
        pool_id=table.matching("pool_id", _POOL_ID, "1 to 64 of A-Z, a-z, 0-9, _ and -") or "renderfarm",
        nodes=table.whole("nodes", 10, 1, MOST_NODES),
        dedicated_nodes=table.whole("dedicated_nodes", 0, 0, MOST_NODES),
        spot=table.flag("spot", True),
        slots_per_node=table.whole("slots_per_node", 1, 1, MOST_SLOTS),
        image=table.matching("image", _IMAGE, "publisher:offer:sku[:version] or the resource id of an image"),
        node_agent=table.text("node_agent"),
        container_image=table.text("container_image"),
        start_task=table.path("start_task"),
        renderer=table.texts("renderer"),
        network=table.matching("network", _SUBNET, "the resource id of a subnet"),
        identity=table.matching("identity", _IDENTITY, "the resource id of a user-assigned identity"),
        identity_client_id=table.text("identity_client_id"),
        subscription=table.text("subscription"),
        resource_group=table.text("resource_group"),
        price_per_node_hour=table.price("price_per_node_hour"),
        after=table.choice("after", AFTER, KEEP),
        auto_pool=table.flag("auto_pool", False),
        autoscale=table.flag("autoscale", True),
        poll_seconds=table.seconds("poll_seconds", 5.0),
        job_hours=table.hours("job_hours", 72.0),
    )
    _agreement(settings, table)
    return _placed(settings)


def _agreement(settings: CloudSettings, table: _Table) -> None:
    """Keys that make no sense together."""
    if settings.dedicated_nodes > settings.nodes:
        raise table.wrong("dedicated_nodes", f"is more than nodes = {settings.nodes}")
    if settings.identity and not settings.identity_client_id:
        command = f"az identity show --ids {settings.identity} --query clientId -o tsv"
        raise table.wrong("identity", "needs identity_client_id beside it", f"Find it with: {command}")
    if settings.image and settings.image.startswith("/") and not settings.node_agent:
        hint = 'node_agent = "batch.node.ubuntu 24.04" says which system the image holds.'
        raise table.wrong("image", "is a resource id, so node_agent must be given too", hint)
    if settings.auto_pool and settings.identity:
        hint = "Batch makes auto pools itself, without identities: leave out one of the two."
        raise table.wrong("auto_pool", "can't be used together with identity", hint)


def _placed(settings: CloudSettings) -> CloudSettings:
    """Subscription and resource group from the identity, where the table doesn't say them."""
    found = _IDENTITY.fullmatch(settings.identity or "")
    if found is None:
        return settings
    known = {
        "subscription": settings.subscription or found["subscription"],
        "resource_group": settings.resource_group or found["group"],
    }
    return CloudSettings(**{**vars(settings), **known})


class _Table:
    """The keys of one table; every complaint names both."""

    def __init__(self, config: PoolConfig) -> None:
        self.name = config.name
        self.options = config.options
        self.own = config.own

    def refuse_unknown(self) -> None:
        """Raise for a key that nobody knows."""
        for key in self.options:
            if key not in KEYS:
                hint = nearest(key, KEYS) or f"Known: {', '.join(KEYS)}."
                raise self.wrong(key, "is not a setting that renderfarm knows", hint)

    def wrong(self, key: str, what: str, hint: str = "") -> ConfigError:
        """The complaint about a key."""
        return ConfigError(f"{key!r} in [pools.{self.name}] {what}.", hint)

    def lacks(self, key: str) -> str:
        """Never returns: a key without which nothing works is not there."""
        hint = f"Write {_EXAMPLES[key]} into the table in {FILE_NAME}."
        raise ConfigError(f"[pools.{self.name}] has no {key}.", hint)

    def text(self, key: str) -> str | None:
        """Text without blanks around it; None when the key is left out."""
        value = self.options.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or "\x00" in value:
            raise self.wrong(key, f"must be text, not {value!r}")
        return value.strip()

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str | None:
        """Text of a certain form."""
        value = self.text(key)
        if value is not None and not pattern.fullmatch(value):
            raise self.wrong(key, f"must be {what}, not {value!r}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """One text or several."""
        value = self.options.get(key)
        items = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        if not all(isinstance(item, str) and item.strip() for item in items):
            raise self.wrong(key, "must be a name or a list of names", 'Such as renderer = "distribution".')
        return tuple(str(item).strip() for item in items)

    def path(self, key: str) -> str | None:
        """A file of the user's, absolute."""
        value = self.text(key)
        return None if value is None else str(user_path(value).absolute())

    def choice(self, key: str, words: tuple[str, ...], default: str) -> str:
        """One of some words."""
        value = self.text(key) or default
        if value not in words:
            hint = nearest(value, words)
            raise self.wrong(key, f"must be one of {', '.join(words)}, not {value!r}", hint)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.options.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, f"must be true or false, not {value!r}")
        return value

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.options.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"must be a whole number from {least} to {most}, not {value!r}")
        return value

    def seconds(self, key: str, default: float) -> float:
        """A number of seconds above zero."""
        value = _number(self.options.get(key, default))
        if value is None or not 0 < value <= LONGEST_POLL_SECONDS:
            most = f"{LONGEST_POLL_SECONDS:g}"
            raise self.wrong(key, f"must be a number of seconds up to {most}, not {self.options[key]!r}")
        return value

    def hours(self, key: str, default: float) -> float:
        """A number of hours, up to as long as a token for storage can live."""
        value = _number(self.options.get(key, default))
        if value is None or not 0 < value <= LONGEST_JOB_HOURS:
            raise self.wrong(key, f"must be a number of hours up to {LONGEST_JOB_HOURS}")
        return value

    def price(self, key: str) -> HourlyPrice | None:
        """A price for every node, or one for spot and one for dedicated nodes."""
        value = self.options.get(key)
        if value is None:
            return None
        table = value if isinstance(value, Mapping) else {"spot": value, "dedicated": value}
        prices = {kind: _number(amount) for kind, amount in table.items()}
        if set(prices) - {"spot", "dedicated"} or any(p is None or p < 0 for p in prices.values()):
            hint = "Such as 0.12, or { spot = 0.05, dedicated = 0.40 }."
            raise self.wrong(key, f"must be a price per hour, not {value!r}", hint)
        return HourlyPrice(spot=prices.get("spot"), dedicated=prices.get("dedicated"))

    def url(self, key: str, ours: Callable[[str], bool]) -> str:
        """A service's address: https, except on this machine; nothing secret in it, and not anybody's."""
        value = self.text(key) or self.lacks(key)
        parts = _split(value)
        if parts is None or parts.scheme not in ("http", "https"):
            raise self.wrong(key, "must be an address that begins with https://", f"Such as {_EXAMPLES[key]}")
        if parts.username or parts.password or parts.query or parts.fragment:
            hint = "Keys and signatures never belong into the file: see RENDERFARM_BATCH_KEY in docs/azure.md."
            raise self.wrong(key, "must be a plain address, without user name, query or fragment", hint)
        host = parts.hostname or ""
        if parts.scheme == "http" and not is_loopback(host):
            raise self.wrong(key, "must begin with https:// (http only for services on this machine)")
        if not (ours(host) or is_loopback(host) or self.own):
            what = f"names {host}, which is none of Azure's hosts, so it gets no key and no token of yours"
            raise self.wrong(key, what, f"If you mean it, move the table into your own file, {user_file()}.")
        return value.rstrip("/")

    def account(self, key: str, url: str, domain: str) -> str:
        """An account's name: said outright, the host's first label, or the path's first part."""
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path.strip("/")
        label = host.split(".")[0] if domain in host else path.split("/")[0]
        return self.text(key) or label or self.lacks(key)


def _split(url: str) -> SplitResult | None:
    """An address in its parts; None for one without a host or with a port that is none."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
