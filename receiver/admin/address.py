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
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def url(self) -> str:
        """For a browser on this machine."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104 (every address)
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


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
