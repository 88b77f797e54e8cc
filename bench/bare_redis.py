"""The floor of a rendered prompt: a FastAPI endpoint that does one Redis GET. `python -m bench.bare_redis PORT URL`."""

import gc
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.responses import Response

from studio.heap import settle_heap

KEY = "bench:bare"
VALUE = b'{"text":"' + b"x" * 2000 + b'"}'


def bare_app(redis_url: str) -> FastAPI:
    redis = Redis.from_url(redis_url)  # pyright: ignore[reportUnknownMemberType] - redis-py leaves **kwargs open

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        await redis.set(KEY, VALUE)
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/bare")
    async def read() -> Response:
        return Response(await redis.get(KEY), media_type="application/json")

    @app.get("/ready")
    async def ready() -> Response:
        return Response()

    return app


if __name__ == "__main__":
    app = bare_app(sys.argv[2])
    settle_heap()
    gc.set_threshold(50_000, 50, 50)
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
