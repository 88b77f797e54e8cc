"""An S3-compatible server from the package `moto`, in memory."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp

from cli.stack.parts import Part
from cli.stack.probes import http_probe
from tests.support.ports import free_port
from tests.support.servers import running

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a-hidden-credential"}

_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request"}


@contextmanager
def object_store(log: Path) -> Generator[str]:
    """Yields its endpoint."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    with running(Part("s3", endpoint, http_probe(f"{endpoint}/moto-api/"), command, port=port), log):
        yield endpoint


async def new_bucket(endpoint: str) -> str:
    """A bucket of the test's own, as a `STUDIO_BLOB_URL`."""
    name = f"test-{uuid4().hex}"
    async with aiohttp.ClientSession() as http, http.put(f"{endpoint}/{name}", headers=_SIGNED) as answer:
        assert answer.status == 200, await answer.text()
    return f"s3://{name}/payloads?endpoint={endpoint}&region=us-east-1"


async def emptied(endpoint: str, url: str) -> None:
    """Remove every object of the bucket, as somebody would who does not know what they are."""
    bucket = url.removeprefix("s3://").partition("/")[0]
    async with aiohttp.ClientSession() as http:
        for name in await object_names(endpoint, url):
            async with http.delete(f"{endpoint}/{bucket}/{name}", headers=_SIGNED) as answer:
                assert answer.status == 204, await answer.text()


async def object_names(endpoint: str, url: str) -> list[str]:
    bucket = url.removeprefix("s3://").partition("/")[0]
    async with aiohttp.ClientSession() as http, http.get(f"{endpoint}/{bucket}?list-type=2") as answer:
        text = await answer.text()
    return [part.partition("</Key>")[0] for part in text.split("<Key>")[1:]]
