"""The HTTP gateway, and the commands that running services are: one parser for the platform and the command line."""
