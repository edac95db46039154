"""The public API of the example: small, but with every kind of answer that a rollout can hurt."""

import asyncio
import os
from pathlib import Path

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

VERSION_FILE = Path(__file__).resolve().parent / "VERSION"
VERSION = VERSION_FILE.read_text().strip() if VERSION_FILE.exists() else "unreleased"
RELEASE = os.environ.get("AIBK_RELEASE", VERSION)
EXECUTED = os.environ.get("EXECUTED_LOG")

app = FastAPI(title="aibk example", version=VERSION)


class Order(BaseModel):
    id: str


@app.get("/health")
async def health():
    return {"status": "ok", "release": RELEASE}


@app.get("/")
async def root():
    return {"hello": "world", "release": RELEASE}


@app.get("/version")
async def version():
    return {"version": VERSION, "release": RELEASE, "pid": os.getpid()}


@app.post("/orders", status_code=201)
async def orders(order: Order):
    """Writes one line for each execution, so that orders executed twice or never are seen."""
    if EXECUTED:
        out = os.open(EXECUTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(out, f"{order.id}\n".encode())
        finally:
            os.close(out)
    return {"id": order.id}


@app.get("/slow")
async def slow(seconds: float = 2.0):
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@app.get("/stream")
async def stream(chunks: int = 20, every: float = 0.1):
    """As many lines of 64 bytes as asked for, so that the client knows when one is missing."""

    async def lines():
        for n in range(chunks):
            yield f"{n:06}".ljust(63, ".") + "\n"
            await asyncio.sleep(every)

    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
