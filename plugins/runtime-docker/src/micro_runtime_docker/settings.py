"""Where the engine is, and how containers are."""

from typing import Any

from micro import limits
from micro.errors import ConfigError
from micro.plugin.settings import Seconds, Settings, Size, setting


class DockerSettings(Settings):
    """Where the Docker engine is, who we are to it, and what its containers are like."""

    host: str = setting("unix:///var/run/docker.sock", "unix:// of a socket, or tcp:// with certificates")
    ca: str = setting("", "file of the certificate authorities to trust, for tcp://")
    certificate: str = setting("", "file of the certificate to show, for tcp://")
    key: str = setting("", "file of its key")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(20.0, "to wait for an answer; builds and logs take what they take")
    grace: Seconds = setting(30.0, "between asking a service to stop and making it")
    base: str = setting(
        "", "image that sources run in, which has python and micro; empty: one made of this server's own"
    )
    user: str = setting("1000:1000", "who containers run as; empty: whom their image says")
    network: str = setting("micro", "network that containers are in; a bridge of this name is made where there is none")
    platform: str = setting("", "host:port at which containers reach the platform; empty: their network's gateway")
    tmp: Size = setting(
        Size(64 * limits.MIB), "bytes of a container's /tmp, which is in memory, without a limit of disk"
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.host.startswith("unix:///"):
            return
        if not self.host.startswith("tcp://"):
            raise ConfigError(f"host {self.host!r}: expected unix:///path or tcp://host:port")
        if not (self.ca and self.certificate and self.key):
            raise ConfigError(f"host {self.host!r}: tcp:// is for TLS, so ca, certificate and key must be given")
