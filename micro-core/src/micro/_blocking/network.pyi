"""The types of micro.blocking.network, written by scripts/blocking.py."""

import builtins
from micro.network import Network as Network
from micro.network import NetworkDriver as NetworkDriver
from micro.network import Peer as Peer
from micro.network import Query as Query
from micro.network import Route as Route

def routes(service: str | None=None) -> builtins.list[Route]:
    """Give the routes there are, or those to one service: see Network.routes."""
    ...

def peers() -> builtins.list[Peer]:
    """Give the networks this one is connected to: see Network.peers."""
    ...
