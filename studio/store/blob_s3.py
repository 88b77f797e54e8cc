"""Blobs as objects of a bucket, on anything that speaks S3."""

import secrets
from collections.abc import Sequence
from datetime import timedelta

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from studio.blob_url import BlobUrl
from studio.errors import DependencyUnavailable

BLOB_STORE = "blob-store"
"""What readiness and problems call it."""
REQUEST_SECONDS, CONNECT_SECONDS = 30, 3
RETRIES, RETRY_SECONDS = 4, 20
"""Server errors and lost connections are tried again, with a growing pause of up to two seconds."""
_log = structlog.get_logger(__name__)


def new_name(digest: str) -> str:
    """Never used again: nobody can remove what somebody else has just put."""
    return f"{digest}.{secrets.token_hex(8)}"


class S3Objects:
    """Credentials come from the environment (`AWS_ACCESS_KEY_ID` and the like, a container's or a machine's role).

    Every method raises `DependencyUnavailable` once the retries are used up.
    """

    def __init__(self, url: BlobUrl) -> None:
        config = {name: value for name, value in (("endpoint", url.endpoint), ("region", url.region)) if value}
        self._store = S3Store(
            url.bucket,
            prefix=url.prefix,
            config=config,  # pyright: ignore[reportArgumentType] - a TypedDict, filled by name
            client_options={
                "allow_http": (url.endpoint or "").startswith("http://"),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=200),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )

    async def put(self, name: str, data: bytes) -> None:
        try:
            await obstore.put_async(self._store, name, data)
        except (BaseError, OSError) as error:
            raise _unavailable("put", error) from None

    async def get(self, name: str) -> bytes | None:
        """None when the object is gone."""
        try:
            answer = await obstore.get_async(self._store, name)
            return bytes(await answer.bytes_async())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise _unavailable("get", error) from None
            return None
        except (BaseError, OSError) as error:
            raise _unavailable("get", error) from None

    async def delete(self, names: Sequence[str]) -> None:
        try:
            await obstore.delete_async(self._store, names)
        except FileNotFoundError as error:  # or somebody else removed it
            if "NoSuchBucket" in str(error):
                raise _unavailable("delete", error) from None
        except (BaseError, OSError) as error:
            raise _unavailable("delete", error) from None

    async def check(self) -> None:
        try:
            async for _ in obstore.list(self._store, chunk_size=1):
                return
        except (BaseError, OSError) as error:
            raise _unavailable("list", error) from None


def _unavailable(operation: str, error: Exception) -> DependencyUnavailable:
    # The error's own text holds the store's address.
    _log.warning("blobs.unavailable", operation=operation, error=type(error).__name__)
    detail = "The blob store does not answer, or refuses: check STUDIO_BLOB_URL, its bucket and its credentials."
    return DependencyUnavailable(BLOB_STORE, detail)
