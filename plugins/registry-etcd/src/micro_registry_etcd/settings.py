"""Where etcd is."""

from typing import Any

from micro.errors import ConfigError
from micro.plugin.settings import Seconds, Secret, Settings, setting


class EtcdSettings(Settings):
    """Where etcd is, and who we are to it."""

    endpoints: list[str] = setting(["http://127.0.0.1:2379"], "http:// or https:// of the cluster's members")
    user: str = setting("", "name to log in with; empty: none")
    password: Secret[str] = setting(Secret(""), "of the user")
    ca: str = setting("", "file of the certificate authorities to trust, for https://")
    certificate: str = setting("", "file of the certificate to show, for https://")
    key: str = setting("", "file of its key")
    server_name: str = setting("", "name that the servers' certificates hold, if it is not their address")
    prefix: str = setting("/micro/registry", "put before the keys")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(5.0, "to wait for an answer")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        schemes = {each.partition("://")[0] for each in self.endpoints}
        if not self.endpoints or not schemes <= {"http", "https"} or len(schemes) > 1:
            raise ConfigError(f"endpoints {self.endpoints!r}: each begins with http://, or each with https://")

    @property
    def secure(self) -> bool:
        """Whether they are reached by TLS."""
        return self.endpoints[0].startswith("https://")

    @property
    def addresses(self) -> list[str]:
        """Their `host:port`."""
        bare = [each.partition("://")[2].rstrip("/") for each in self.endpoints]
        return [each if each.rpartition(":")[2].isdigit() else f"{each}:2379" for each in bare]
