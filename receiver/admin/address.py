"""Where the status page listens, and which names it answers to. Pure."""

import ipaddress
from typing import NamedTuple

LOOPBACK = "127.0.0.1"
_OWN_NAMES = ("localhost", LOOPBACK, "[::1]")


class AdminAddress(NamedTuple):
    """`host` is an address or a name of this machine, in small letters; `port` 0 is nowhere."""

    host: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether others than this machine may reach it."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """For a browser on this machine."""
        host = reached_at(self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def answers_to(self, host: str) -> bool:
        """Whether `host`, of a Host header, names it. Its port may be any: through a tunnel it is another.

        A web page can have a name of its own lead here (DNS rebinding), but not an address: where others may come,
        each address is one that they know this machine by.
        """
        name, _, port = host.strip().lower().rpartition(":")
        if not port.isdigit():
            name = host.strip().lower()
        return name in (*_OWN_NAMES, self.host) or (self.is_open and _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches `host`, an address or a name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def reached_at(host: str) -> str:
    """Where this machine itself reaches a listener at `host`: one at every address is at the loopback one, too."""
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 (every address)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
