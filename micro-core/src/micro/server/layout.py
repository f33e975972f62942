"""What the supervisor starts, as data: names, waves, how long a stop may take."""

from __future__ import annotations

from typing import NamedTuple

SERVE = "micro.server.child:serve"


class Spec(NamedTuple):
    """One core service. `main` is what its process runs, `module:function`; `grace` seconds for its stop.

    A `slow` one has the most to import: it is forked before the others.
    """

    name: str
    wave: int  # it starts when all of the wave before are ready
    stop: int  # lower ones stop first, equals together
    grace: float = 10.0
    slow: bool = False
    main: str = SERVE


# The runtime stops the users' services, which may take 30 s and still need everything but the edge.
CORE = (
    Spec("registry", 1, 4),
    Spec("store", 1, 4),
    Spec("config", 2, 3),
    Spec("auth", 2, 3),
    Spec("broker", 2, 3),
    Spec("events", 2, 3),
    Spec("network", 2, 3),
    Spec("runtime", 2, 2, grace=35.0),
    Spec("proxy", 3, 1),
    Spec("api", 3, 1, slow=True),
)
