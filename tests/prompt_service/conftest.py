"""An engine that cuts payloads early, beside the one that all tests share."""

from collections.abc import Iterator

import pytest

from tests.support.prompt_engine import prompt_engine


@pytest.fixture(scope="session")
def small_payload_url(prompt_mongo: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second engine on the same MongoDB and Redis, which cuts payloads at 2 KiB."""
    folder = tmp_path_factory.mktemp("small")
    with prompt_engine(folder, mongo_url=prompt_mongo, redis_url=redis_url, STUDIO_TRACE_PAYLOAD_BYTES="2048") as url:
        yield url
