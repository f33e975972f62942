"""Compressed messages of plain grpc.aio are read, both ways."""

import importlib

import grpc.aio
import pytest

from micro.testing.echo import Echo, path

PLAIN = [("grpc.use_local_subchannel_pool", 1)]
TEXT = b"again and again " * 4000


@pytest.fixture(params=["nghttp2", "grpcio"])
def transport(request):
    return getattr(importlib.import_module(f"micro.rpc.{request.param}"), f"{request.param.capitalize()}Transport")()


async def test_a_compressed_request_is_read(transport):
    listener = transport.listener(Echo())
    address = await listener.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(address, PLAIN, compression=grpc.Compression.Gzip) as channel:
        assert await channel.unary_unary(path("Unary").decode())(TEXT, timeout=10) == TEXT
        call = channel.stream_stream(path("Chat").decode())()
        for word in (b"a" * 5000, b"", b"b"):
            await call.write(word)
            assert await call.read() == word
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    await listener.close()


async def test_a_compressed_answer_is_read(transport):
    async def answer(request, context):
        context.set_compression(grpc.Compression.Gzip)
        return request

    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("test.Echo", {"Unary": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = transport.channel(f"127.0.0.1:{port}")
    assert (await channel.unary(path("Unary"), TEXT, timeout=10)).message == TEXT
    await channel.close()
    await server.stop(None)
