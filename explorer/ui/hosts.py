"""The names under which this server answers.

A page of another site can make its own name lead to this machine (DNS rebinding) and would then read everything as if
it were the app. What it cannot choose is the name in the request, so only names that the server has are answered.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from streamlit import config

from explorer.errors import ExplorerError
from explorer.ui.context import named_hosts

VARIABLE = "SONOSCOPE_HOSTS"
_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Hosts:
    """names: lower case, without port and last dot; '*.lab.example' stands for all below it, '*' for every name.

    any_address: whether every numeric address is ours, as for a server that listens on all of them: behind a container
    or a router it cannot know them all, and a number is no name that somebody else could lead here.
    """

    names: frozenset[str]
    any_address: bool = False

    def has(self, authority: str) -> bool:
        """Whether 'name:port' (of a Host header, or of an Origin behind its scheme) names this server."""
        name = host_name(authority)
        if name is None:
            return False
        if "*" in self.names or name in self.names:
            return True
        address = _address(name)
        if address is not None:
            return self.any_address or address.is_loopback
        return any(name.endswith(pattern[1:]) for pattern in self.names if pattern.startswith("*."))

    def has_origin(self, origin: str, authority: str) -> bool:
        """Whether a request to `authority` that a page of this origin made may be answered: one of the same name, or of
        a name that is ours by itself and not only because every name or address is."""
        name = origin_name(origin)
        if name is None:
            return False
        named = Hosts(self.names - {"*"})
        return name == host_name(authority) or named.has(f"[{name}]" if ":" in name else name)

    @property
    def words(self) -> str:
        """The names for people."""
        shown = ["localhost", *sorted(self.names - {"localhost"})]
        return ", ".join([*shown, "every numeric address" if self.any_address else "127.0.0.1"])


def host_name(authority: str) -> str | None:
    """The name of 'name:port' as `Hosts` keeps it; an IPv6 address without brackets; None for what is none."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/?#@\\\s]+)(:[0-9]{1,5})?", authority)
    if match is None or not authority.isascii():
        return None
    return match[1].lower().removesuffix(".").strip("[]") or None


def origin_name(origin: str) -> str | None:
    """The host's name of 'https://name:port', as `Hosts` keeps it; None for what is none, such as 'null'."""
    match = re.fullmatch(r"https?://([^/]+)", origin)
    return host_name(match[1]) if match else None


def _address(name: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def hosts_of_server() -> Hosts:
    """The names of this server: loopback, the address it listens on, and what SONOSCOPE_HOSTS and `--host` name.

    Raises ExplorerError for a name that is none.
    """
    listens_on = str(config.get_option("server.address") or "").strip("[]")
    address = _address(listens_on)
    is_everywhere = not listens_on or (address is not None and address.is_unspecified)
    own = [socket.gethostname(), f"{socket.gethostname()}.local", socket.getfqdn()] if is_everywhere else [listens_on]
    public = config.get_option("browser.serverAddress") if config.is_manually_set("browser.serverAddress") else ""
    asked = re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) + named_hosts()
    return Hosts(
        frozenset(["localhost", *_checked([*own, public], is_own=True), *_checked(asked)]),
        any_address=is_everywhere,
    )


def _checked(names: Iterable[str], *, is_own: bool = False) -> list[str]:
    """The names as `Hosts` keeps them; a machine's own name that no address can hold is left out."""
    found = []
    for text in filter(None, (name.strip() for name in names)):
        name = text if text == "*" else host_name(_in_ascii(text)) or ""
        if name == "*" or _NAME.fullmatch(name) or _address(name):
            found.append(name)
        elif not is_own:
            raise ExplorerError(
                f"{VARIABLE} or --host names {text!r}, which is no host name. Give names alone, such as "
                "lab.example.org or *.example.org, without http:// and without a path."
            )
    return found


def _in_ascii(name: str) -> str:
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
