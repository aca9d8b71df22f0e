"""A control: the traced receiver with a fault, one that asks the registry's file about each token."""

import sys
from pathlib import Path
from typing import Any

import traced  # noqa: F401 (it notes the statements)

import receiver.server
from receiver.__main__ import main
from receiver.endpoints import Endpoints
from receiver.registry import EndpointEntry, Registry


class Asking(Endpoints):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.registry = Registry(path)

    @property
    def by_address(self) -> Any:
        return self

    @by_address.setter
    def by_address(self, _: object) -> None: ...

    def get(self, address: tuple[str, str]) -> EndpointEntry | None:
        return self.registry.get_endpoint(address[1])


receiver.server.Endpoints = Asking  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
