"""Where NATS is."""

from typing import Any

from micro import limits
from micro.errors import ConfigError
from micro.plugin.settings import Count, Seconds, Secret, Settings, Size, setting

_SCHEMES = ("nats://", "tls://")


class NatsSettings(Settings):
    """Where NATS is, who we are to it, and how far behind a subscriber may be."""

    url: str = setting("nats://127.0.0.1:4222", "nats:// or tls:// of a server; of several, with commas between")
    user: str = setting("", "name to log in with")
    password: Secret[str] = setting(Secret(""), "of the user")
    token: Secret[str] = setting(Secret(""), "to log in with instead")
    credentials: str = setting("", "file with a JWT and a seed to log in with instead")
    ca: str = setting("", "file of the certificate authorities to trust, for tls://")
    certificate: str = setting("", "file of the certificate to show, for tls://")
    key: str = setting("", "file of its key")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(5.0, "to wait until the server has what was published")
    backlog: Count = setting(Count(10_000), "messages kept for a slow subscriber; beyond, the oldest are lost")
    backlog_bytes: Size = setting(Size(4 * limits.MIB), "bytes kept for a slow subscriber")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not self.urls or not all(each.startswith(_SCHEMES) for each in self.urls):
            raise ConfigError(f"url {self.url!r}: each server's begins with nats:// or tls://")

    @property
    def urls(self) -> list[str]:
        """The servers."""
        return [each.strip() for each in self.url.split(",") if each.strip()]
