"""Azure's own clouds: the only hosts that get a key, a token or a signature unless the user's own file says so.

Suffixes as `az cloud list` has them, and Microsoft Learn (read 2026-11) in "Compare Azure Government and global
Azure", "Azure China: resources and developer guide", and for accounts in DNS zones "Storage account overview".
Germany's cloud was closed in 2021.
"""

from __future__ import annotations

import ipaddress
import re

_LABELS = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
"""plain, so nothing encoded can stand for another host"""
_BATCH = {
    r"batch\.azure\.com": "https://batch.core.windows.net//.default",
    r"batch\.chinacloudapi\.cn": "https://batch.chinacloudapi.cn//.default",
    r"batch\.usgovcloudapi\.net": "https://batch.core.usgovcloudapi.net//.default",
}
"""what Batch accounts are below, and what a token for one must be for"""
_BLOBS = (
    r"blob\.core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)|z[0-9]{2}\.blob\.storage\.azure\.net"
)


def is_batch(host: str) -> bool:
    """Whether a host is a Batch account of Azure's."""
    return any(re.fullmatch(_LABELS + domain, host) for domain in _BATCH)


def is_storage(host: str) -> bool:
    """Whether a host is the Blob service of a storage account of Azure's."""
    return bool(re.fullmatch(f"{_LABELS}(?:{_BLOBS})", host))


def scope(host: str) -> str:
    """What a token for a Batch account must be for; another service's is the public cloud's."""
    scopes = (scope for domain, scope in _BATCH.items() if re.fullmatch(_LABELS + domain, host))
    return next(scopes, next(iter(_BATCH.values())))


def is_loopback(host: str) -> bool:
    """Whether a host name can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
