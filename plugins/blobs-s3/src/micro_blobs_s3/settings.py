"""Where S3 is."""

from typing import Any

from micro import limits
from micro.errors import ConfigError
from micro.plugin.settings import Count, Seconds, Secret, Settings, Size, setting

SMALLEST = 5 * limits.MIB  # bytes of a part but the last; S3's own


class S3Settings(Settings):
    """Where S3 is, and how much is sent at once."""

    endpoint: str = setting("", "http:// or https:// of a server that speaks like S3; empty: AWS")
    bucket: str = setting("micro", "the bucket that all namespaces share")
    region: str = setting("", "region of the bucket; empty: as the AWS environment says")
    access_key: str = setting("", "id of the access key; empty: as the AWS environment says")
    secret_key: Secret[str] = setting(Secret(""), "its secret")
    prefix: str = setting("", "put before the keys of all objects")
    create: bool = setting(True, "make the bucket when it is not there")
    ca: str = setting("", "file of the certificate authorities to trust, for https://")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(10.0, "to wait for an answer, and for each next piece of one")
    connections: Count = setting(Count(32), "calls at once")
    part_size: Size = setting(Size(8 * limits.MIB), "of a part; what is not larger goes in one call")
    parts: Count = setting(Count(4), "parts of one blob sent at once")

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.part_size < SMALLEST:
            raise ConfigError(f"part_size is {self.part_size} bytes, S3 takes {SMALLEST} and more")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"endpoint {self.endpoint!r} does not begin with http:// or https://")
