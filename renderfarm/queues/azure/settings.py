"""What a `[pools.NAME]` table of type `azure-batch` says, checked once and before anything is asked of Azure.

Nothing here is a secret: URLs that carry a user name, a key or a query are refused, keys come from the
environment (`credentials`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from renderfarm.errors import ConfigError
from renderfarm.queues.azure import clouds
from renderfarm.settings.checks import user_path
from renderfarm.settings.config import FILE_NAME, user_file
from renderfarm.settings.options import AFTER, nearest
from renderfarm.settings.pool import DEFAULT_NODES, POOLS, PoolConfig
from renderfarm.words.as_json import decode

KEEP, RESIZE, DELETE = AFTER
"""What becomes of the pool when a job has ended."""
MOST_NODES = 10_000
MOST_SLOTS = 256
"""of a node: Batch allows at most min(4 x cores, 256)"""
LONGEST_POLL_SECONDS = 3600
LONGEST_JOB_HOURS = 167
"""a user-delegation SAS lives seven days at most, and must outlive the job's last upload"""
EXAMPLES = {
    "batch_url": '"https://myfarm.westeurope.batch.azure.com"',
    "storage_url": '"https://myfarm.blob.core.windows.net"',
    "vm_size": '"Standard_D8ads_v6"',
    "batch_account": '"myfarm"',
    "storage_account": '"myfarm"',
}
"""of keys without which nothing works"""


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
    nodes: int = DEFAULT_NODES
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


def _matching(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.IGNORECASE).fullmatch


def _within(least: float, most: float) -> Callable[[float], object]:
    return lambda value: least <= value <= most


_IDENTITY = (
    r"/subscriptions/(?P<subscription>[^/\s]+)/resourceGroups/(?P<resource_group>[^/\s]+)"
    r"/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/\s]+"
)
_TINY = 1e-9
"""the least of what must be more than nothing"""
_RULES: dict[str, tuple[Callable[[Any], object], str]] = {
    "vm_size": (_matching(r"[a-z0-9_]{1,80}"), "the name of a VM size"),
    "prefix": (
        re.compile(r"(?=.{1,20}\Z)[a-z0-9]+(-[a-z0-9]+)*").fullmatch,
        "1 to 20 of a-z, 0-9, single hyphens",
    ),
    "pool_id": (_matching(r"[a-z0-9_-]{1,64}"), "1 to 64 of A-Z, a-z, 0-9, _ and -"),
    "nodes": (_within(1, MOST_NODES), f"a whole number from 1 to {MOST_NODES}"),
    "dedicated_nodes": (_within(0, MOST_NODES), f"a whole number from 0 to {MOST_NODES}"),
    "slots_per_node": (_within(1, MOST_SLOTS), f"a whole number from 1 to {MOST_SLOTS}"),
    "image": (
        _matching(r"[^:/\s]+(:[^:/\s]+){2,3}|/subscriptions/\S+"),
        "publisher:offer:sku[:version] or the resource id of an image",
    ),
    "renderer": (lambda names: all(map(str.strip, names)), 'a name or a list of names, such as "distribution"'),
    "network": (
        _matching(r"/subscriptions/[^/\s]+/.*/virtualNetworks/[^/\s]+/subnets/[^/\s]+"),
        "the resource id of a subnet",
    ),
    "identity": (_matching(_IDENTITY), "the resource id of a user-assigned identity"),
    "price_per_node_hour": (
        lambda price: all(0 <= each < math.inf for each in vars(price).values() if each is not None),
        "a price per hour, such as 0.12 or { spot = 0.05, dedicated = 0.40 }",
    ),
    "after": (AFTER.__contains__, f"one of {', '.join(AFTER)}"),
    "poll_seconds": (_within(_TINY, LONGEST_POLL_SECONDS), f"a number of seconds up to {LONGEST_POLL_SECONDS}"),
    "job_hours": (_within(_TINY, LONGEST_JOB_HOURS), f"a number of hours up to {LONGEST_JOB_HOURS}"),
}
"""what a value must be, beside its type, and the words for it"""


def read(config: PoolConfig) -> CloudSettings:
    """A pool's settings; raises ConfigError that names table and key."""
    given = {key: config.options.get(key) for key in POOLS[config.type].keys}
    found = {key: _checked(config, key, value) for key, value in given.items() if value is not None}
    for service, is_ours, domain in (
        ("batch", clouds.is_batch, ".batch."),
        ("storage", clouds.is_storage, ".blob."),
    ):
        if url := found.get(f"{service}_url"):
            found[f"{service}_url"] = _address(config, f"{service}_url", url, is_ours)
            found.setdefault(f"{service}_account", _account(url, domain))
    for key, example in EXAMPLES.items():
        if not found.get(key):
            hint = f"Write {key} = {example} into the table in {FILE_NAME}."
            raise ConfigError(f"[pools.{config.name}] has no {key}.", hint)
    if placed := re.fullmatch(_IDENTITY, found.get("identity") or "", re.IGNORECASE):
        found = {**placed.groupdict(), **found}
    settings = CloudSettings(name=config.name, **found)
    _agreement(config, settings)
    return settings


def _checked(config: PoolConfig, key: str, value: object) -> Any:
    """A value as its field has it; raises ConfigError."""
    kind = get_type_hints(CloudSettings)[key]
    fits, words = _RULES.get(key, (bool, "text") if kind is not bool else (lambda _: True, "true or false"))
    try:
        found = decode(kind, _plain(key, value))
        good = fits(found) and "\0" not in str(found)
    except ValueError:
        good = False
    if not good:
        hint = nearest(str(value), AFTER) if key == "after" else ""
        raise _wrong(config, key, f"must be {words}, not {value!r}", hint)
    return str(user_path(found).absolute()) if key == "start_task" else found


def _plain(key: str, value: object) -> object:
    """What may be written short, in full; raises ValueError."""
    value = value.strip() if isinstance(value, str) else value
    if key == "renderer" and isinstance(value, str):
        return [value]
    if key == "price_per_node_hour":
        value = value if isinstance(value, dict) else {"spot": value, "dedicated": value}
        if value.keys() - {"spot", "dedicated"}:
            raise ValueError("no kind of nodes")
    return value


def _agreement(config: PoolConfig, settings: CloudSettings) -> None:
    """Keys that make no sense together."""
    if settings.dedicated_nodes > settings.nodes:
        raise _wrong(config, "dedicated_nodes", f"is more than nodes = {settings.nodes}")
    if settings.identity and not settings.identity_client_id:
        command = f"az identity show --ids {settings.identity} --query clientId -o tsv"
        raise _wrong(config, "identity", "needs identity_client_id beside it", f"Find it with: {command}")
    if settings.image and settings.image.startswith("/") and not settings.node_agent:
        hint = 'node_agent = "batch.node.ubuntu 24.04" says which system the image holds.'
        raise _wrong(config, "image", "is a resource id, so node_agent must be given too", hint)
    if settings.auto_pool and settings.identity:
        hint = "Batch makes auto pools itself, without identities: leave out one of the two."
        raise _wrong(config, "auto_pool", "can't be used together with identity", hint)


def _wrong(config: PoolConfig, key: str, what: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{key!r} in [pools.{config.name}] {what}.", hint)


def _address(config: PoolConfig, key: str, url: str, is_ours: Callable[[str], bool]) -> str:
    """A service's address: https, except on this machine; nothing secret in it, and not anybody's."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _wrong(config, key, "must be an address that begins with https://", f"Such as {EXAMPLES[key]}.")
    if parts.username or parts.password or parts.query or parts.fragment:
        hint = "Keys and signatures never belong into the file: see RENDERFARM_BATCH_KEY in docs/azure.md."
        raise _wrong(config, key, "must be a plain address, without user name, query or fragment", hint)
    host = parts.hostname or ""
    if parts.scheme == "http" and not clouds.is_loopback(host):
        raise _wrong(config, key, "must begin with https:// (http only for services on this machine)")
    if not (is_ours(host) or clouds.is_loopback(host) or config.own):
        what = f"names {host}, which is none of Azure's hosts, so it gets no key and no token of yours"
        raise _wrong(config, key, what, f"If you mean it, move the table into your own file, {user_file()}.")
    return url.rstrip("/")


def _account(url: str, domain: str) -> str:
    """An account's name as its address has it: the host's first label, or the path's first part."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return host.split(".")[0] if domain in host else parts.path.strip("/").split("/")[0]
