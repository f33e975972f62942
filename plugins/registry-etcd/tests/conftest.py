"""The etcd that the tests share."""

from micro.testing.servers.etcd import etcd_server

__all__ = ["etcd_server"]
