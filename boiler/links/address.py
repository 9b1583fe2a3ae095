"""Which addresses a link may lead to.

A host name is no proof: it may stand for a private address, or for another address at each look-up (DNS rebinding), and
a public server may redirect to any other. So the address is checked where a connection is made, for every connection of
the process, whatever library makes it: `guard_connections` adds an audit hook of Python, which sees the address that
the socket connects to and cannot be removed. It holds for what connects through Python's sockets, and the process that
fetches links loads nothing else that does.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from boiler.errors import LinkError

MAX_URL = 4_000
FORBIDDEN = "the link leads to {}, which is no public address"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"})
_STARTS_PROGRAM = frozenset(
    {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}
)


def checked_url(url: str) -> str:
    """The URL with everything percent-encoded that has to be.

    Raises: LinkError: not an http or https address of a host, or with a password.

    >>> checked_url(" https://example.org/a b.mp3?x=é#t ")
    'https://example.org/a%20b.mp3?x=%C3%A9'
    """
    url = url.strip()
    if len(url) > MAX_URL:
        raise LinkError(f"a link has at most {MAX_URL} characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        name = host if ":" in host else host.encode("idna").decode()
    except ValueError:  # UnicodeError is one
        raise LinkError("this is not the address of a file") from None
    if parts.scheme not in ("http", "https") or not name or not name.isprintable() or " " in name:
        raise LinkError("a link begins with http:// or https:// and the name of a host")
    if parts.username is not None or parts.password is not None:
        raise LinkError("a link must not contain a user name or password")
    place = f"[{name}]" if ":" in name else name
    place += "" if port is None else f":{port}"
    path, query = (quote(part, safe="/%:@!$&'()*+,;=~?") for part in (parts.path, parts.query))
    return f"{parts.scheme}://{place}{path or '/'}" + (f"?{query}" if query else "")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not of this machine, of a private network, or reserved. An
    IPv4 address inside of an IPv6 address counts as itself.

    >>> [is_public(one) for one in ("93.184.215.14", "127.0.0.1", "10.0.0.7", "::ffff:192.168.0.1", "64:ff9b::7f00:1")]
    [True, False, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class ForbiddenAddressError(PermissionError):
    """A connection to an address that is not public."""


def guard_connections(allow_private: bool) -> None:
    """Refuse, from now on and for good, that this process starts programs, or connects to anything but public
    addresses; with `allow_private`, to anything but IP addresses."""
    sys.addaudithook(connection_check(allow_private))


def connection_check(allow_private: bool) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook of `guard_connections`. It raises ForbiddenAddressError, or PermissionError for a program."""

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS_PROGRAM:
            raise PermissionError("links are fetched without the help of other programs")
        if event not in _CONNECTS or arguments[1] is None:  # None: to where the socket is connected already
            return
        address = arguments[1][0] if isinstance(arguments[1], tuple) else ""
        try:
            allowed = is_public(address) or (allow_private and event != "socket.bind")
        except ValueError:  # the name of a host, or of a socket in the file system
            allowed = False
        if not allowed:
            raise ForbiddenAddressError(FORBIDDEN.format(address or "a local socket"))

    return check
