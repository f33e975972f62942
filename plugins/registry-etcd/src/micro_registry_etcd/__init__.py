"""Micro's registry in etcd."""

from micro_registry_etcd.registry import EtcdRegistry
from micro_registry_etcd.settings import EtcdSettings

__all__ = ["EtcdRegistry", "EtcdSettings"]
