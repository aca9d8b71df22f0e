"""Serves a provider to the engine over gRPC.

Pulumi's own `main` shows a traceback for every error and outlives a killed engine; this one gives the error's sentence
alone, and leaves when the engine is gone.
"""

from __future__ import annotations  # grpc's classes are generic in its stubs alone

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import empty_pb2
from pulumi.provider.experimental.provider import Provider
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2_grpc

from provider.resource import ResourceError


class PlainErrors(grpc.aio.ServerInterceptor):
    """Turns an exception of a method into its sentence, for the person who reads it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner = handler.unary_unary

        async def call(request: Any, context: Any) -> Any:
            try:
                return await inner(request, context)
            except NotImplementedError as error:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
            except Exception as error:
                await context.abort(grpc.StatusCode.UNKNOWN, sentence(error))

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def sentence(error: Exception) -> str:
    """What the user reads of an exception that a method raised."""
    # The SDK wraps what a method raises into an exception whose text is a traceback; the cause is its context.
    cause = error.__context__ or error
    if isinstance(cause, ResourceError):
        return str(cause)
    if isinstance(cause, OSError):  # a full disk, a folder of somebody else's
        place = cause.filename or "in the stack's folder"
        return f"{cause.strerror}: {place}"
    if isinstance(cause, sqlite3.Error):
        return f"the registry or the spool in the stack's folder (.sluice/<stack>) can't be used: {cause}"
    where = cause.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" at {Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
    return f"unexpected {type(cause).__name__} in the provider{place}: {cause}"


async def exit_with_parent(parent: int) -> None:
    """Ends this process as soon as the engine that started it is gone."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells a process that its parent has ended
        await asyncio.sleep(0.5)
    os._exit(0)  # nothing to save: every step is repeated by the next `up`


Say = Callable[[str, str, bool], Awaitable[None]]
"""(urn, message, is a warning): shown beside that resource in the engine's output."""


class Engine:
    """The engine at the other end: what is said to it stands in its output."""

    def __init__(self, address: str) -> None:
        """`address`: host and port, or nothing where the engine will attach itself."""
        self.address = address

    async def say(self, urn: str, message: str, warning: bool) -> None:
        severity = engine_pb2.WARNING if warning else engine_pb2.INFO
        async with grpc.aio.insecure_channel(self.address, options=_GRPC_CHANNEL_OPTIONS) as channel:
            stub = engine_pb2_grpc.EngineStub(channel)
            await stub.Log(engine_pb2.LogRequest(severity=severity, message=message, urn=urn))


class Servicer(ProviderServicer):
    """Pulumi's own, and what it lacks: an engine that didn't start the provider says where it is.

    It does so where PULUMI_DEBUG_PROVIDERS names the provider's port (pulumi/pulumi v3.258.0,
    pkg/resource/plugin/provider_plugin.go): a provider in a debugger, or in a test.
    """

    def __init__(self, version: str, provider: Provider, engine: Engine) -> None:
        super().__init__([], version, provider, engine_address=engine.address)
        self._engine = engine

    async def Attach(self, request: plugin_pb2.PluginAttach, context: object) -> empty_pb2.Empty:
        self._engine.address = request.address
        return empty_pb2.Empty()


async def start(make: Callable[[Say], Provider], version: str, engine: str = "") -> tuple[grpc.aio.Server, int]:
    """A server of the provider that `make` returns, on a port of loopback. `engine`: as `Engine` has it."""
    server = grpc.aio.server(interceptors=[PlainErrors()], options=_GRPC_CHANNEL_OPTIONS)
    other_end = Engine(engine)
    servicer = Servicer(version, make(other_end.say), other_end)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def serve(make: Callable[[Say], Provider], version: str) -> None:
    """Serves the provider that `make` returns until the engine goes. The command line's first word is its address."""
    engine = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    parent = os.getppid()

    async def run() -> None:
        _server, port = await start(make, version, engine)  # held: it stops when nobody does
        print(port, flush=True)  # noqa: T201 - the engine reads the port from here
        await exit_with_parent(parent)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
