"""Who may come in: a link that works once becomes a cookie; names that a stranger's site may have are refused.

A login node has other users, and any site may make a browser ask 127.0.0.1: so there is a secret always, the
name asked for must be this machine's (a rebound name is none), and what changes things must come from the page.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

MOST = 25
"""links that were not used yet, and browsers that are in"""
POLICY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self';"
        " connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""headers of all answers; one that says otherwise wins"""
FOREIGN_PAGE = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'; sandbox allow-same-origin"
)
"""the policy of reports: they need nothing but themselves, and may do nothing; as of this origin, their links
come with the cookie"""


class Doors:
    """The links and cookies of one server."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.cookie = f"renderfarm-{port}"
        """cookies know no ports"""
        self._links: OrderedDict[str, None] = OrderedDict()
        self._in: OrderedDict[str, None] = OrderedDict()
        self.used: Callable[[], None] = lambda: None
        """called when a link has been used"""

    def link(self, path: str = "/", host: str = "") -> str:
        """An address that lets one browser in."""
        token = _fresh(self._links)
        return f"http://{host or _named(self.host, self.port)}{path}?token={token}"

    def enter(self, token: str) -> str | None:
        """The cookie for a link's token, which works once; None for any other."""
        for known in list(self._links):
            if hmac.compare_digest(known.encode(), token.encode()):
                del self._links[known]
                self.used()
                return _fresh(self._in)
        return None

    def knows(self, cookies: Mapping[str, str]) -> bool:
        """Whether a browser came in by a link."""
        own = cookies.get(self.cookie, "").encode()
        return any(hmac.compare_digest(known.encode(), own) for known in self._in)

    def stranger(self, host: str) -> str | None:
        """Why a request for this name is refused, if it is."""
        name = _host(f"//{host}", "hostname")
        own = {"localhost", self.host.lower(), socket.gethostname().lower()}
        if name in own or name.endswith(".localhost") or _is_address(name):
            return None
        return (
            f"This is renderfarm's page, and it does not answer to the name {name[:100]!r}. Open "
            f"http://{_named(self.host, self.port)} instead, or start it with: renderfarm web --host NAME"
        )

    @staticmethod
    def is_own(headers: Mapping[str, str]) -> bool:
        """Whether a request that changes something comes from the page itself; browsers say so."""
        if site := headers.get("sec-fetch-site"):
            return site == "same-origin"
        return _host(headers.get("origin", ""), "netloc") == headers.get("host", "") != ""


def _host(address: str, part: str) -> str:
    """Which machine an address names; none where it is no address."""
    try:
        return str(getattr(urlsplit(address), part) or "")
    except ValueError:
        return ""


def _fresh(known: OrderedDict[str, None]) -> str:
    """A new secret; the oldest of many is forgotten."""
    known[secret := secrets.token_urlsafe(24)] = None
    while len(known) > MOST:
        known.popitem(last=False)
    return secret


def _is_address(name: str) -> bool:
    """Whether it is a number, which nobody can make stand for another machine."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _named(host: str, port: int) -> str:
    """What stands in an address: anybody's own name where the server listens everywhere."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
