"""JSON by path, with versions, watching, history and secrets."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.config.api import Config as Config
    from micro.config.driver import ConfigDriver as ConfigDriver
    from micro.config.driver import Entry as Entry
    from micro.config.face import delete as delete
    from micro.config.face import get as get
    from micro.config.face import history as history
    from micro.config.face import rollback as rollback
    from micro.config.face import set as set
    from micro.config.face import watch as watch
else:
    from micro._lazy import lazy

    _FACE = ("delete", "get", "history", "rollback", "set", "watch")
    __getattr__, __dir__, __all__ = lazy(
        __name__, {"Config": "api", "ConfigDriver": "driver", "Entry": "driver"} | dict.fromkeys(_FACE, "face")
    )
