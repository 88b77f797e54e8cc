import io
import json
import logging

import aiohttp
import pytest
import structlog
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel, SecretStr
from yarl import URL

from studio.masking import MASK, describe_fault, mask, protect, protect_settings
from studio.telemetry import mask_line

SECRET = 'key/with+odd="1"-4711'


@pytest.fixture(autouse=True)
def protected() -> None:
    """For the rest of the process: nothing else says it."""
    protect([SECRET])


@pytest.mark.parametrize(
    "text",
    [SECRET, json.dumps(SECRET), json.dumps({"a": f"Bearer {SECRET}"}), json.dumps(SECRET).replace("/", "\\/"), str(URL("http://h/").with_query(k=SECRET))],
    ids=["plain", "json", "in json", "php", "url"],
)  # fmt: skip
def test_no_spelling_of_a_secret_is_left(text: str) -> None:
    for masked in (mask(text), mask(text.encode()).decode()):
        assert MASK in masked or "4711" not in masked
        assert "with" not in masked


def test_ordinary_words_of_settings_stay() -> None:
    protect(["not-needed", "EMPTY", "application/json", "https://example.org/app", "AI Studio", "short"])
    text = "not-needed EMPTY application/json https://example.org/app AI Studio short"
    assert mask(text) == text


def test_secrets_of_settings_are_found_however_deep() -> None:
    class Upstream(BaseModel):
        headers: dict[str, SecretStr]

    class Settings(BaseModel):
        keys: list[SecretStr]
        upstreams: list[Upstream]

    header = SecretStr("Bearer token-of-9911")
    protect_settings(Settings(keys=[SecretStr("first-key-8811")], upstreams=[Upstream(headers={"X": header})]))
    assert mask("first-key-8811 token-of-9911") == f"{MASK} {MASK}"


def test_a_librarys_exception_is_described_without_its_request() -> None:
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {SECRET}"}))
    request = aiohttp.RequestInfo(URL("http://127.0.0.1/v1"), "POST", headers, URL("http://127.0.0.1/v1"))
    error = aiohttp.ClientResponseError(request, (), status=400, message=f"bad {SECRET}")
    assert SECRET in repr(error)
    assert SECRET not in describe_fault(error)
    assert describe_fault(error).startswith("ClientResponseError: 400")


def test_no_line_of_the_log_holds_a_secret() -> None:
    """Tracebacks and all."""

    out = io.StringIO()
    handler = logging.StreamHandler(out)
    processors = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
        mask_line,
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=processors))
    logger = logging.getLogger("test-of-masking")
    logger.addHandler(handler)
    logger.error("failed with %s", SECRET, exc_info=ValueError(SECRET))
    logger.removeHandler(handler)
    assert MASK in out.getvalue()
    assert "4711" not in out.getvalue()
