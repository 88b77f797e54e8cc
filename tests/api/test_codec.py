"""`/codec`: what Temporal's UI and command see of encrypted histories."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import delete
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from api.codec.payloads import MAX_SHOWN_BYTES, read_payloads, write_payloads
from cli.stack import parts
from studio.codec import data_converter
from studio.compression import decompress
from studio.contracts.base import Json, JsonObject
from studio.db.engine import Database
from studio.db.tables import BlobRow
from studio.store.blobs import BlobStore
from tests.api.conftest import open_live
from tests.support.databases import sqlite_database
from tests.support.platform import new_secret_key
from tests.support.ports import free_port
from tests.support.services import SECRET_KEY, Answer, RunningApi, api_settings, serving_api

UI = "http://127.0.0.1:8233"
LARGE = [f"{number:x}" * 9 for number in range(0x10000, 0x16000)]
"""More than 64 KiB when compressed."""


GARBAGE: dict[str, Json] = {
    "list": [],
    "number": {"payloads": 5},
    "not-base64": {"payloads": [{"data": "A"}]},
    "no-data": {"payloads": [{"metadata": {"encoding": "YmluYXJ5L2VuY3J5cHRlZA=="}}]},
    "too-many": {"payloads": [{}] * 1001},
    "claim-without-digest": {
        "payloads": [
            {
                "metadata": {
                    "encoding": "anNvbi9wcm90b2J1Zg==",
                    "messageType": "dGVtcG9yYWwuYXBpLnNkay52MS5FeHRlcm5hbFN0b3JhZ2VSZWZlcmVuY2U=",
                },
                "data": "eyJkcml2ZXJOYW1lIjoic3R1ZGlvIn0=",
            }
        ]
    },
}


def as_json(payloads: Sequence[Payload]) -> JsonObject:
    return orjson.loads(write_payloads(payloads))


@dataclass
class Codec:
    api: RunningApi
    database: Database

    @property
    def converter(self) -> DataConverter:
        return data_converter([SECRET_KEY], BlobStore(self.database))

    async def sealed(self, *values: Json) -> JsonObject:
        """As a client of ours sends them to Temporal."""
        return as_json(await self.converter.encode(values))

    async def post(self, path: str, body: Json, **query: Any) -> Answer:
        return await self.api.request("POST", f"//codec/{path}", body, headers={"Origin": UI}, **query)

    async def shown(self, path: str, body: Json, **query: Any) -> list[Json]:
        """What the payloads of the answer hold, read without any key."""
        answer = (await self.post(path, body, **query)).ok()
        return await DataConverter.default.decode(read_payloads(answer))


@pytest.fixture
async def codec(tmp_path: Path) -> AsyncGenerator[Codec]:
    url = sqlite_database(tmp_path)
    settings = api_settings(tmp_path, database_url=url, temporal_ui_url=UI, max_body_bytes=1_000_000)
    async with serving_api(settings) as api:
        database = Database(url)
        try:
            yield Codec(api, database)
        finally:
            await database.close()


class TestDecode:
    async def test_encrypted_and_stored_payloads_are_shown_in_their_order(self, codec: Codec) -> None:
        sealed = await codec.sealed("one", LARGE, {"three": 3})
        assert b"sizeBytes" in str(sealed).encode()
        assert await codec.shown("decode", sealed) == ["one", LARGE, {"three": 3}]

    async def test_what_is_readable_stays_as_it_is(self, codec: Codec) -> None:
        plain = as_json(await DataConverter.default.encode(["agent planner · turn 1", None]))
        assert (await codec.post("decode", plain)).ok() == plain
        assert (await codec.post("decode", {"payloads": []})).ok() == {}

    async def test_the_ui_gets_a_reference_and_downloads_what_it_stands_for(self, codec: Codec) -> None:
        sealed = await codec.sealed("one", LARGE)
        answer = (await codec.post("decode", sealed, preserveStorageRefs="true")).ok()
        assert answer["payloads"][1] == sealed["payloads"][1]
        assert await codec.shown("download", {"payloads": answer["payloads"][1:]}) == [LARGE]

    async def test_a_blob_that_is_gone_says_so(self, codec: Codec) -> None:
        sealed = await codec.sealed("one", LARGE)
        async with codec.database.write() as session:
            await session.execute(delete(BlobRow))
        one, gone = await codec.shown("decode", sealed)
        assert one == "one"
        assert "is gone" in str(gone)

    async def test_what_is_unpacked_is_counted(self, codec: Codec) -> None:
        """Seven kilobytes each stand for five megabytes."""
        [packed] = (await codec.sealed("a" * 5_500_000))["payloads"]
        answer = await codec.post("decode", {"payloads": [packed] * 8})
        assert len(answer.body) < 1.5 * MAX_SHOWN_BYTES
        shown = await DataConverter.default.decode(read_payloads(answer.ok()))
        assert [len(text) for text in shown[:6]] == [5_500_000] * 6
        assert all("too large" in text for text in shown[6:])

    @pytest.mark.parametrize("claim", ["1", "0", "-5", "100000000"])
    async def test_what_the_request_says_of_sizes_is_not_counted(self, codec: Codec, claim: str) -> None:
        sealed = await codec.sealed(LARGE)
        sealed["payloads"][0]["externalPayloads"] = [{"sizeBytes": claim}]
        assert await codec.shown("decode", sealed) == [LARGE]

    async def test_what_is_too_large_does_not_hide_what_follows(self, codec: Codec) -> None:
        [large, small] = (await codec.sealed("a" * (MAX_SHOWN_BYTES + 1), "small"))["payloads"]
        told, shown = await codec.shown("decode", {"payloads": [large, small]})
        assert ("too large" in str(told), shown) == (True, "small")

    async def test_unpacking_what_is_not_shown_ends_too(self, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
        limits: list[int | None] = []

        def counted(packed: bytes, limit: int | None = None) -> bytes:
            limits.append(limit)
            return decompress(packed, limit)

        monkeypatch.setattr("studio.codec.decompress", counted)
        monkeypatch.setattr("api.codec.payloads.MAX_SHOWN_BYTES", 1 << 20)
        monkeypatch.setattr("api.codec.payloads.MAX_UNPACKED_BYTES", 4 << 20)
        [large] = (await codec.sealed("a" * 5_500_000))["payloads"]
        shown = await codec.shown("decode", {"payloads": [large] * 50})
        assert all("too large" in str(told) for told in shown)
        assert limits == [1 << 20] * 4

    async def test_an_unknown_key_is_named(self, codec: Codec) -> None:
        other = data_converter([new_secret_key()], BlobStore(codec.database))
        body = as_json([*await codec.converter.encode(["ours"]), *await other.encode(["theirs"])])
        answer = await codec.post("decode", body)
        assert answer.places() == [["body", "payloads", 1]]
        assert "STUDIO_SECRET_KEYS does not hold" in str(answer.json["detail"])

    @pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
    async def test_garbage_is_refused_with_its_place(self, codec: Codec, body: Json) -> None:
        assert (await codec.post("decode", body)).places()[0][0] == "body"

    async def test_what_is_larger_than_the_limit_is_refused(self, codec: Codec) -> None:
        answer = await codec.post("decode", {"payloads": [{"data": "A" * 2_000_000}]})
        answer.problem(413, "payload-too-large")
        assert answer.headers["access-control-allow-origin"] == UI  # else the UI could not tell why


class TestEncode:
    async def test_what_the_ui_sends_is_encrypted_and_read_by_our_clients(self, codec: Codec) -> None:
        plain = as_json(await DataConverter.default.encode(["a secret", LARGE[:1000]]))
        answer = await codec.post("encode", plain)
        assert b"a secret" not in answer.body
        assert await codec.converter.decode(read_payloads(answer.ok())) == ["a secret", LARGE[:1000]]


async def preflight(codec: Codec, path: str, origin: str) -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,authorization-extras,content-type,x-namespace",
    }
    return await codec.api.request("OPTIONS", path, headers=headers)


class TestOrigins:
    @pytest.mark.parametrize("origin", [UI, "http://localhost:8233"])
    async def test_pages_of_the_temporal_ui_may_ask(self, codec: Codec, origin: str) -> None:
        answer = await preflight(codec, "//codec/decode", origin)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
        assert answer.headers["access-control-allow-credentials"] == "true"

    async def test_pages_of_others_may_not_nor_may_the_ui_ask_for_the_rest(self, codec: Codec) -> None:
        assert (await preflight(codec, "//codec/decode", "http://evil.example")).status == 400
        answer = await preflight(codec, "/runs", UI)
        assert "access-control-allow-origin" not in answer.headers


async def show(address: str, workflow_id: str, *options: str) -> str:
    """What the payloads hold that `temporal workflow show` prints."""
    program = parts.temporal(free_port(), None, None).command[0]
    command = (program, "workflow", "show", "--address", address, "--workflow-id", workflow_id, "--output", "json")
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    data = re.findall(rb'"data": "([^"]*)"', output)
    return b"".join(map(base64.b64decode, data)).decode(errors="replace")


class TestTemporalCommand:
    async def test_input_and_output_are_readable_through_the_codec_alone(
        self, tmp_path: Path, temporal_address: str, redis_url: str
    ) -> None:
        async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as live:
            await live.workflow({"id": "ask", "agent": {"message": "{{ question }}"}})
            run_id = await live.start(input={"question": "the-quick-brown-fox", "large": LARGE})
            await live.api.finished(run_id)
            plain = await show(temporal_address, run_id)
            decoded = await show(temporal_address, run_id, "--codec-endpoint", f"{live.api.url}/codec")
        for words in ("the-quick-brown-fox", "Hello from the script.", LARGE[-1]):
            assert words not in plain
            assert words in decoded
