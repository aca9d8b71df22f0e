"""The usual way: FastAPI, uvicorn and asyncpg, one INSERT a request, 200 once it is committed. No spool, no groups."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import asyncpg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

SCHEMA = os.environ["SCHEMA"]
TOKENS = {os.environ["TOKEN_HASH"]: SCHEMA}
INSERT = f"""
INSERT INTO "{SCHEMA}".data (event_id, object_type, metric, "timestamp", payload,
    _sdc_received_at, _sdc_batched_at, _sdc_sequence, _sdc_table_version)
VALUES ($1, $2, $3, $4, $5, now(), now(), (extract(epoch FROM clock_timestamp()) * 1e9)::bigint, 1)
ON CONFLICT (event_id) DO NOTHING"""


class Event(BaseModel):
    model_config = ConfigDict(extra="allow")
    event_id: str = Field(min_length=1, max_length=255)
    object_type: str | None = None
    metric: str | None = None
    timestamp: int | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["WAREHOUSE_DSN"]) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/{schema}/{token}")
async def receive(schema: str, token: str, event: Event, request: Request) -> dict[str, str]:
    if TOKENS.get(sha256(token.encode()).hexdigest()) != schema:
        raise HTTPException(401)
    body = (await request.body()).decode()
    await request.app.state.pool.execute(INSERT, event.event_id, event.object_type, event.metric, event.timestamp, body)
    return {"status": "ok"}
