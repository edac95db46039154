"""The administration panel of the example: a service of its own, with one slot."""

import os

from fastapi import FastAPI

RELEASE = os.environ.get("AIBK_RELEASE", "unreleased")

app = FastAPI(title="aibk example admin")


@app.get("/health")
async def health():
    return {"status": "ok", "release": RELEASE}


@app.get("/")
async def root():
    return {"admin": "panel", "release": RELEASE}
