"""Where NATS is, and how much it keeps."""

from typing import Any, Literal

from micro import limits
from micro.errors import ConfigError
from micro.plugin.settings import Count, Seconds, Secret, Settings, Size, setting

_SCHEMES = ("nats://", "tls://")


class ServerSettings(Settings):
    """Where NATS is, and who we are to it."""

    url: str = setting("nats://127.0.0.1:4222", "nats:// or tls:// of a server; of several, with commas between")
    user: str = setting("", "name to log in with")
    password: Secret[str] = setting(Secret(""), "of the user")
    token: Secret[str] = setting(Secret(""), "to log in with instead")
    credentials: str = setting("", "file with a JWT and a seed to log in with instead")
    ca: str = setting("", "file of the certificate authorities to trust, for tls://")
    certificate: str = setting("", "file of the certificate to show, for tls://")
    key: str = setting("", "file of its key")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(5.0, "to wait until the server has what was published, or answers")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not self.urls or not all(each.startswith(_SCHEMES) for each in self.urls):
            raise ConfigError(f"url {self.url!r}: each server's begins with nats:// or tls://")

    @property
    def urls(self) -> list[str]:
        """The servers."""
        return [each.strip() for each in self.url.split(",") if each.strip()]


class NatsSettings(ServerSettings):
    """Where NATS is, who we are to it, and how far behind a subscriber may be."""

    backlog: Count = setting(Count(10_000), "messages kept for a slow subscriber; beyond, the oldest are lost")
    backlog_bytes: Size = setting(Size(4 * limits.MIB), "bytes kept for a slow subscriber")


class NatsEventsSettings(ServerSettings):
    """Where NATS is, who we are to it, how long it keeps events, and how many of a topic."""

    retention: Seconds = setting(7 * 86400.0, "until an event is forgotten, consumed or not; 0: never")
    max_events: Count | None = setting(None, "events kept of a topic; not given: without limit")
    max_bytes: Size | None = setting(None, "bytes kept of a topic, as NATS counts them; not given: without limit")
    discard: Literal["new", "old"] = setting("new", "what a full topic does: refuses new events, or drops the oldest")
    replicas: Count = setting(Count(1), "servers of a cluster that keep each event: 1, 3 or 5")
