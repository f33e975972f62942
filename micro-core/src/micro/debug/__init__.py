"""How a process is doing: health, counts, spans, logs, its schema. Every service serves it."""

from micro._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    "micro.debug",
    {"Facts": "service", "attach": "service", "DebugHandler": "handler", "LogRing": "logs", "remember_logs": "logs"},
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.debug.handler import DebugHandler as DebugHandler
    from micro.debug.logs import LogRing as LogRing
    from micro.debug.logs import remember_logs as remember_logs
    from micro.debug.service import Facts as Facts
    from micro.debug.service import attach as attach
