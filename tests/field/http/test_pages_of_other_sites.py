"""A web page that its user visits tries to use a stack on loopback."""

import aiohttp
import pytest
from openai import AsyncOpenAI
from starlette.types import Scope

from studio.errors import StudioError
from studio.settings import StudioSettings
from studio.web.edge.origins import OriginPolicy
from tests.field.http.raw import ask
from tests.support.services import RunningApi
from tests.support.span_sink import SpanSink

EVIL = "http://evil.example"
REBOUND = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1:8000@evil.example",
    "localhost, evil.example",
    "[::1].evil.example",
    "0.0.0.0:8000",
    "",
)
OURS = ("localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000")
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


class TestHost:
    @pytest.mark.parametrize("host", REBOUND)
    async def test_a_name_that_was_made_to_point_here_reads_nothing(self, api: RunningApi, host: str) -> None:
        status, answer = await ask(api.url, "GET /api/v1/runs HTTP/1.1", f"Host: {host}")
        assert status == 421
        assert b"urn:studio:misdirected-request" in answer
        assert b"STUDIO_ALLOWED_HOSTS" in answer

    @pytest.mark.parametrize("host", OURS)
    async def test_loopback_by_any_of_its_names_is_answered(self, api: RunningApi, host: str) -> None:
        assert (await ask(api.url, "GET /api/v1/agents HTTP/1.1", f"Host: {host}"))[0] == 200

    async def test_two_of_them_are_malformed(self, api: RunningApi) -> None:
        assert (await ask(api.url, "GET /health/live HTTP/1.1", "Host: localhost", "Host: evil.example"))[0] == 400

    @pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/docs", "/openapi.json", "/metrics"])
    async def test_nowhere_at_the_llm_engine(self, engine: str, path: str) -> None:
        method = "POST" if path.endswith("completions") else "GET"
        assert (await ask(engine, f"{method} {path} HTTP/1.1", "Host: evil.example"))[0] == 421


class TestChanges:
    @pytest.mark.parametrize("origin", [EVIL, "https://evil.example:8000", "null", "http://localhost.evil.example"])
    @pytest.mark.parametrize("path", ["/schedules/nightly/trigger", "/schedules/nightly/pause", "/runs/r/cancel"])
    async def test_without_a_body_by_a_guessable_name(self, api: RunningApi, origin: str, path: str) -> None:
        (await api.request("POST", path, headers={"Origin": origin})).problem(403, "forbidden")

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_that_the_browser_calls_cross_site(self, api: RunningApi, method: str) -> None:
        answer = await api.request(method, "/agents/a", headers={"Sec-Fetch-Site": "cross-site"})
        answer.problem(403, "forbidden")

    @pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost:5173"}, {"Sec-Fetch-Site": "same-origin"}])
    async def test_of_programs_and_of_pages_here_are_made(self, api: RunningApi, headers: dict[str, str]) -> None:
        (await api.request("POST", "/agents", {"name": "a"}, headers=headers)).ok(201)

    @pytest.mark.parametrize("ui", ["http://127.0.0.1:8233", "http://localhost:8233"])
    async def test_the_temporal_ui_may_ask_the_codec_and_nothing_else(self, api: RunningApi, ui: str) -> None:
        headers = {"Origin": ui, "Sec-Fetch-Site": "cross-site"}
        answer = await api.request("POST", "//codec/decode", {"payloads": []}, headers=headers)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ui)
        (await api.request("POST", "/runs/r/cancel", headers=headers)).problem(403, "forbidden")

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
    async def test_a_form_spends_no_money(self, engine: str, sink: SpanSink, content_type: str | None) -> None:
        headers = {} if content_type is None else {"Content-Type": content_type}
        body = b'{"model":"small","messages":[{"role":"user","content":"hi"}]}'
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                f"{engine}/v1/chat/completions", data=body, headers=headers, skip_auto_headers=["Content-Type"]
            ) as answer,
        ):
            assert answer.status == 415
            assert (await answer.json(content_type=None))["error"]["type"] == "invalid_request_error"

    async def test_the_official_client_works(self, openai: AsyncOpenAI) -> None:
        answer = await openai.chat.completions.create(model="small", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content


class TestWebSocket:
    async def test_of_another_site_is_not_opened(self, api: RunningApi) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await api.http.ws_connect("/api/v1/runs/r/ws", headers={"Origin": EVIL})
        assert refused.value.status == 403


def _policy(host: str, *allowed: str) -> OriginPolicy:
    settings = StudioSettings(host=host, allowed_hosts=list(allowed))
    return OriginPolicy(settings.host, settings.allowed_hosts)


def _asked(policy: OriginPolicy, *headers: tuple[str, str]) -> StudioError | None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope: Scope = {"type": "http", "method": "POST", "path": "/api/v1/runs", "headers": raw}
    return policy.refusal(scope)


class TestBehindAGateway:
    def test_any_host_where_none_is_named(self) -> None:
        policy = _policy("0.0.0.0")  # noqa: S104 - that is the case
        assert _asked(policy, ("host", "studio.example"), ("origin", "https://studio.example")) is None
        refused = _asked(policy, ("host", "studio.example"), ("sec-fetch-site", "cross-site"))
        assert refused is not None
        assert refused.status == 403

    @pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3"])  # noqa: S104 - that is the case
    @pytest.mark.parametrize("origin", [EVIL, "null", "http://10.1.2.3.evil.example", "https://evil.example:8000"])
    def test_a_page_of_another_site_over_plain_http_where_none_is_named(self, host: str, origin: str) -> None:
        refused = _asked(_policy(host), ("host", "10.1.2.3:8000"), ("origin", origin))
        assert refused is not None
        assert refused.status == 403
        assert _asked(_policy(host), ("host", "10.1.2.3:8000"), ("origin", "http://10.1.2.3:5173")) is None

    def test_only_those_that_are_named(self) -> None:
        policy = _policy("0.0.0.0", "studio.example")  # noqa: S104 - that is the case
        assert _asked(policy, ("host", "Studio.Example:443"), ("origin", "https://studio.example")) is None
        assert _asked(policy, ("host", "127.0.0.1:8000")) is None  # a probe inside the container
        assert _asked(policy, ("host", "evil.example")) is not None
        assert _asked(policy, ("host", "studio.example"), ("origin", EVIL)) is not None

    def test_a_named_page_may_ask_from_its_own_site(self) -> None:
        policy = _policy("127.0.0.1", "console.example")
        headers = (("host", "localhost"), ("origin", "https://console.example"), ("sec-fetch-site", "cross-site"))
        assert _asked(policy, *headers) is None

    def test_any_host_where_it_is_said_so(self) -> None:
        assert _asked(_policy("127.0.0.1", "*"), ("host", "anything")) is None

    @pytest.mark.parametrize("text", ["http://studio.example", "studio.example:443", "a b"])
    def test_a_setting_that_is_no_host_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a host"):
            StudioSettings(allowed_hosts=[text])
