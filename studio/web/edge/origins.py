"""Which requests a page in somebody's browser may have made: `Host`, `Origin` and `Sec-Fetch-Site`.

A service on loopback has no password, and any page that its user visits can send requests to it. `Host` refuses names
that were made to point here (DNS rebinding); `Origin` and `Sec-Fetch-Site` refuse forms, `fetch` and WebSockets of
other sites. Programs send neither of the two, and the host that they connect to.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType

from starlette.types import Scope

from studio.errors import BadRequest, Forbidden, MisdirectedRequest, StudioError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
ANY_HOST = "*"
_HOST = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::[0-9]{0,5})?")
_ORIGIN = re.compile(rb"https?://(.+)")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class OriginPolicy:
    """Asked for every request, in front of everything."""

    def __init__(
        self,
        bound_host: str,
        allowed_hosts: Sequence[str],
        pages: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        """`pages` has origins that may ask, for the beginnings of paths that they may ask for."""
        self._listed = frozenset(host.lower() for host in allowed_hosts)
        self._pages = {path: frozenset(origin.encode() for origin in origins) for path, origins in pages.items()}
        checked = ANY_HOST not in self._listed and (bool(self._listed) or is_loopback(bound_host))
        self._hosts = LOOPBACK | self._listed | {_bracketed(bound_host)} if checked else None

    def refusal(self, scope: Scope) -> StudioError | None:
        """What is wrong with who asks; None when nothing is."""
        host = origin = site = None
        hosts = 0
        for name, value in scope["headers"]:
            if name == b"host":
                host, hosts = value, hosts + 1
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if hosts > 1:
            return BadRequest("The request has more than one `Host` (RFC 9112 section 3.2).")
        if self._hosts is not None and host is not None and host_name(host) not in self._hosts:
            return MisdirectedRequest(
                "This service does not answer for that `Host`. Call it by the address that it listens on, "
                "or name the host in STUDIO_ALLOWED_HOSTS."
            )
        if (origin is None and site is None) or (scope["type"] == "http" and scope["method"] in _SAFE):
            return None
        return None if self._may_change(scope["path"], host, origin, site) else _foreign_page()

    def _may_change(self, path: str, host: bytes | None, origin: bytes | None, site: bytes | None) -> bool:
        if origin is not None:
            if any(path.startswith(start) and origin in origins for start, origins in self._pages.items()):
                return True
            match = _ORIGIN.fullmatch(origin.lower())
            name = None if match is None else host_name(match[1])
            if name is not None and name in self._listed:
                return True
            if self._hosts is not None:
                return name in self._hosts and site != b"cross-site"
            if site is None:  # a browser over plain HTTP
                return name is not None and host is not None and name == host_name(host)
        return site != b"cross-site"


@lru_cache(1024)
def host_name(host: bytes) -> str | None:
    """The name or address in a `Host` header, without its port; None when it is not one."""
    match = _HOST.fullmatch(host.lower())
    return None if match is None else match[1].decode("ascii").rstrip(".")


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _foreign_page() -> Forbidden:
    return Forbidden(
        "A page of another site asks for a change. Pages of hosts that STUDIO_ALLOWED_HOSTS names may; "
        "programs send neither `Origin` nor `Sec-Fetch-Site`."
    )
