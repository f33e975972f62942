"""The types of micro.blocking.registry, written by scripts/blocking.py."""

from collections.abc import Iterator
from micro.registry.driver import Event
import builtins
from micro.registry import Cache as Cache
from micro.registry import Endpoint as Endpoint
from micro.registry import Node as Node
from micro.registry import NodeKey as NodeKey
from micro.registry import Registry as Registry
from micro.registry import RegistryDriver as RegistryDriver
from micro.registry import ServiceRecord as ServiceRecord
from micro.registry import Value as Value
from micro.registry import View as View

def services() -> builtins.list[ServiceRecord]:
    """Give all versions of all services: see Registry.services."""
    ...

def get(name: str) -> builtins.list[ServiceRecord]:
    """Give the versions of a service: see Registry.get."""
    ...

def watch(name: str | None=None) -> Iterator[Event]:
    """Follow the registrations, or one service's: see Registry.watch."""
    ...
