"""The application under test: plain ASGI, quick to start, and able to fail in many ways.

How it fails is read from a file `mode` beside this one, else from TEST_MODE:

ok            serves
never-ready   /health is never answered
health-500    /health answers 500
exit          the process exits with status 3 at start, with a word on stderr
raise         the import raises
slow-start    ready only after two seconds
answers-500   / answers 500, /health does not
slow-answers  / is answered after half a second
ignore-term   SIGTERM does nothing
flood         prints without end

Where there is a file `query` beside it, / asks the database at DATABASE_URL that first.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

HERE = Path(__file__).resolve().parent


def text_of(name, otherwise):
    try:
        return (HERE / name).read_text().strip()
    except OSError:
        return otherwise


MODE = text_of("mode", os.environ.get("TEST_MODE", "ok"))
VERSION = text_of("VERSION", "none")
RELEASE = os.environ.get("AIBK_RELEASE", VERSION)
EXECUTED = os.environ.get("EXECUTED_LOG")
QUERY = text_of("query", None)

print(f"importing {VERSION} in mode {MODE}", flush=True)
if MODE == "exit":
    print("cannot go on: the licence has expired", file=sys.stderr, flush=True)
    sys.exit(3)
if MODE == "raise":
    raise RuntimeError("no such table: orders")


def execute(order):
    """One line for each execution, appended in one write, whichever process it is."""
    if EXECUTED:
        out = os.open(EXECUTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(out, f"{order}\n".encode())
        os.close(out)


def ask_the_database():
    """On a connection of its own, or the schema could not change."""
    from sqlalchemy import NullPool, create_engine, text

    url = os.environ["DATABASE_URL"].replace("+asyncpg", "+psycopg")
    with create_engine(url, poolclass=NullPool).connect() as database:
        database.execute(text(QUERY))


async def flood():
    while True:
        print("water " * 20)
        await asyncio.sleep(0)


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
        if MODE == "ignore-term":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if MODE == "slow-start":
            await asyncio.sleep(2)
        if MODE == "flood":
            app.flood = asyncio.create_task(flood())
        await send({"type": "lifespan.startup.complete"})


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def answer(send, body, status=200, kind=b"application/json"):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def health(send):
    if MODE == "never-ready":
        await asyncio.sleep(3600)
    status = 500 if MODE == "health-500" else 200
    await answer(send, {"status": "ok", "release": RELEASE, "pid": os.getpid()}, status)


async def ready(send):
    """Not ready while there is a file `down-INSTANCE` on the stage: its dependency is down."""
    stage, name = os.environ.get("TEST_STAGE", "/nowhere"), os.environ.get("AIBK_INSTANCE")
    up = not (Path(stage) / f"down-{name}").exists()
    headers = [(b"content-type", b"application/json"), (b"x-ready", b"yes" if up else b"no")]
    await send({"type": "http.response.start", "status": 200 if up else 503, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"ready": up}).encode()})


async def stream(send, chunks, every):
    """As many lines of 64 bytes as asked for, so that a short body is seen."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for n in range(chunks):
        line = f"{n:06}".encode().ljust(63, b".") + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})
        await asyncio.sleep(every)
    await send({"type": "http.response.body", "body": b""})


async def http(scope, receive, send):
    path, query = scope["path"], parse_qs(scope["query_string"].decode())
    body = await body_of(receive)
    if path == "/health":
        await health(send)
    elif path == "/":
        if MODE == "slow-answers":
            await asyncio.sleep(0.5)
        if QUERY:
            await asyncio.to_thread(ask_the_database)
        await answer(send, {"hello": "world", "release": RELEASE}, 500 if MODE == "answers-500" else 200)
    elif path == "/version":
        await answer(send, {"version": VERSION, "release": RELEASE, "pid": os.getpid(), "cwd": os.getcwd()})
    elif path == "/orders":
        order = json.loads(body)["id"]
        execute(order)
        await answer(send, {"id": order}, 201)
    elif path == "/slow":
        await asyncio.sleep(float(query.get("seconds", ["2"])[0]))
        await answer(send, {"slow": True})
    elif path == "/stream":
        await stream(send, int(query.get("chunks", ["20"])[0]), float(query.get("every", ["0.1"])[0]))
    elif path == "/env":
        name = query["name"][0]
        await answer(send, {"name": name, "value": os.environ.get(name)})
    elif path == "/ready":
        await ready(send)
    elif path == "/block":
        time.sleep(float(query.get("seconds", ["1000"])[0]))
        await answer(send, {"blocked": True})
    elif path == "/exit":
        os._exit(int(query.get("status", ["7"])[0]))
    else:
        await answer(send, {"detail": "not found"}, 404)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(scope, receive, send)
