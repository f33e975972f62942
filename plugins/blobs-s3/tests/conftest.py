"""The S3 server that the tests share."""

from micro.testing.servers.s3 import s3_server

__all__ = ["s3_server"]
