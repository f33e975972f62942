"""Micro's runtime on Docker."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro_runtime_docker.engine import DockerEngine as DockerEngine
    from micro_runtime_docker.runtime import DockerRuntime as DockerRuntime
    from micro_runtime_docker.settings import DockerSettings as DockerSettings
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__, {"DockerEngine": "engine", "DockerRuntime": "runtime", "DockerSettings": "settings"}
    )
