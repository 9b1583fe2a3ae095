"""Only http links to public addresses pass, whatever they are called."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler.errors import LinkError
from boiler.links.address import ForbiddenAddressError, checked_url, connection_check, is_public

PRIVATE = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "0.0.0.0/8",
    "224.0.0.0/4", "240.0.0.0/4", "198.18.0.0/15", "192.0.2.0/24", "::1/128", "::/128", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8", "2001:db8::/32", "::7f00:0/104",
)  # fmt: skip


@given(st.sampled_from(PRIVATE), st.integers(0, 2**128))
def test_no_address_of_a_private_network_is_public(network: str, at: int) -> None:
    net = ipaddress.ip_network(network)
    address = net[at % net.num_addresses]
    assert not is_public(str(address))
    if isinstance(address, ipaddress.IPv4Address):
        number = int(address)
        assert not is_public(f"::ffff:{address}")
        assert not is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) + number)))
        assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80))))
    else:
        assert not is_public(f"{address}%eth0")


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["", "dog.wav", "file:///etc/passwd", "ftp://example.org/a", "gopher://example.org", "http://", "http:///a",
     "https://user:secret@example.org/", "http://user@example.org/", "http://a b/", "http://example.org:port/",
     "http://example.org:99999/", "javascript:alert(1)", "//example.org/a", "http://[::1", "http://" + "a" * 5_000,
     "http://.example..org/", "data:audio/wav;base64,AA"],
)  # fmt: skip
def test_other_links_are_refused(url: str) -> None:
    with pytest.raises(LinkError):
        checked_url(url)


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_a_link_is_plain_ascii_or_refused(text: str) -> None:
    try:
        url = checked_url(f"http://example.org/{text}")
    except LinkError:
        return
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert checked_url(url) == url


def test_sockets_connect_to_checked_addresses_only() -> None:
    check = connection_check(allow_private=False)
    check("socket.connect", (None, ("8.8.8.8", 80)))
    check("socket.connect", (None, ("2606:4700::1111", 443, 0, 0)))
    check("socket.sendmsg", (None, None))
    check("open", ("/etc/passwd", "r", 0))
    for address in (("127.0.0.1", 80), ("::1", 80, 0, 0), ("localhost", 80), "/run/docker.sock", b"\0abstract"):
        for event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            with pytest.raises(ForbiddenAddressError):
                check(event, (None, address))
    allowing = connection_check(allow_private=True)
    allowing("socket.connect", (None, ("127.0.0.1", 80)))
    for event, address in (("socket.connect", "/run/docker.sock"), ("socket.bind", ("127.0.0.1", 0))):
        with pytest.raises(ForbiddenAddressError):
            allowing(event, (None, address))


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', PORT))",
        "import socket; socket.create_connection(('localhost', PORT))",
        "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', PORT))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:PORT/')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_a_guarded_process_reaches_neither_this_machine_nor_programs(attempt: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = attempt.replace("PORT", str(server.getsockname()[1]))
        guarded = f"from boiler.links.address import guard_connections\nguard_connections(False)\n{code}"
        done = subprocess.run([sys.executable, "-c", guarded], capture_output=True, text=True)
        assert done.returncode == 1
        assert "no public address" in done.stderr or "without the help" in done.stderr
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
