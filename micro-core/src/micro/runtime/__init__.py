"""Services run and kept running, each instance once or with the reason why not."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.runtime.api import Runtime as Runtime
    from micro.runtime.driver import Engine as Engine
    from micro.runtime.driver import Limits as Limits
    from micro.runtime.driver import LogLine as LogLine
    from micro.runtime.driver import RuntimeDriver as RuntimeDriver
    from micro.runtime.driver import Spec as Spec
    from micro.runtime.driver import Status as Status
    from micro.runtime.face import kill as kill
    from micro.runtime.face import logs as logs
    from micro.runtime.face import run as run
    from micro.runtime.face import status as status
    from micro.runtime.face import update as update
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {"Runtime": "api"}
        | dict.fromkeys(("Engine", "Limits", "LogLine", "RuntimeDriver", "Spec", "Status"), "driver")
        | dict.fromkeys(("kill", "logs", "run", "status", "update"), "face"),
    )
