"""Real servers for a driver's tests, a module each; without the program a test is skipped, or fails where they are required."""

from micro.testing.servers.redis import redis as redis
from micro.testing.servers.redis import redis_server as redis_server
from micro.testing.servers.server import Server as Server
from micro.testing.servers.server import free_port as free_port
from micro.testing.servers.server import program as program
