from dataclasses import dataclass

from micro import Service


@dataclass
class Request:
    name: str = "world"


@dataclass
class Response:
    msg: str


class Helloworld:
    """Greets people."""

    async def call(self, request: Request) -> Response:
        """Greet someone."""
        return Response(msg=f"Hello {request.name}")


service = Service("helloworld", handlers=[Helloworld()])

if __name__ == "__main__":
    service.run()
