"""Azure's own clouds: the only hosts that get a key, a token or a signature unless the user's own file says so.

Suffixes as `az cloud list` has them, and Microsoft Learn (read 2026-11) in "Compare Azure Government and global
Azure", "Azure China: resources and developer guide", and for accounts in DNS zones "Storage account overview".
Germany's cloud was closed in 2021.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cloud:
    """The hosts of one cloud, and what a token for its Batch service must be for."""

    batch: re.Pattern[str]
    blobs: re.Pattern[str]
    scope: str


def _cloud(batch: str, blobs: str, scope: str) -> Cloud:
    """Hosts are names below these; labels are plain, so nothing encoded can stand for another host."""
    label = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)"
    return Cloud(re.compile(f"{label}+{batch}"), re.compile(f"{label}+{blobs}"), scope)


CLOUDS = (
    _cloud(
        r"batch\.azure\.com",
        r"(?:blob\.core\.windows\.net|z[0-9]{2}\.blob\.storage\.azure\.net)",
        "https://batch.core.windows.net//.default",
    ),
    _cloud(
        r"batch\.chinacloudapi\.cn",
        r"blob\.core\.chinacloudapi\.cn",
        "https://batch.chinacloudapi.cn//.default",
    ),
    _cloud(
        r"batch\.usgovcloudapi\.net",
        r"blob\.core\.usgovcloudapi\.net",
        "https://batch.core.usgovcloudapi.net//.default",
    ),
)


def is_batch(host: str) -> bool:
    """Whether a host is a Batch account of Azure's."""
    return any(cloud.batch.fullmatch(host) for cloud in CLOUDS)


def is_storage(host: str) -> bool:
    """Whether a host is the Blob service of a storage account of Azure's."""
    return any(cloud.blobs.fullmatch(host) for cloud in CLOUDS)


def scope(host: str) -> str:
    """What a token for a Batch account must be for; another service's is the public cloud's."""
    return next((cloud.scope for cloud in CLOUDS if cloud.batch.fullmatch(host)), CLOUDS[0].scope)


def is_loopback(host: str) -> bool:
    """Whether a host name can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
