import base64
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload

from studio.codec import PayloadCipher, StudioPayloadConverter
from studio.contracts.base import Json
from studio.contracts.plain import PlainText
from studio.errors import SettingsError
from studio.payload_crowds import EXTERNAL_BYTES

CONVERTER = StudioPayloadConverter()
json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)


def new_key() -> SecretStr:
    return SecretStr(base64.b64encode(os.urandom(32)).decode())


def payloads(*values: Json) -> Sequence[Payload]:
    return CONVERTER.to_payloads(values)


def values(found: Sequence[Payload]) -> list[Any]:
    return CONVERTER.from_payloads(found)


class TestPayloadCipher:
    @given(json_values)
    async def test_what_goes_in_comes_out(self, value: Json) -> None:
        cipher = PayloadCipher([new_key()])
        encoded = await cipher.encode(payloads(value))
        assert values(await cipher.decode(encoded)) == [value]

    async def test_nothing_can_be_read(self) -> None:
        (encoded,) = await PayloadCipher([new_key()]).encode(payloads("a secret of some length"))
        assert b"secret" not in encoded.SerializeToString()

    async def test_an_older_key_still_reads(self) -> None:
        old, new = new_key(), new_key()
        encoded = await PayloadCipher([old]).encode(payloads("hello"))
        assert values(await PayloadCipher([new, old]).decode(encoded)) == ["hello"]

    async def test_a_key_that_is_gone_is_named(self) -> None:
        encoded = await PayloadCipher([new_key()]).encode(payloads("hello"))
        with pytest.raises(ValueError, match="which STUDIO_SECRET_KEYS does not hold"):
            await PayloadCipher([new_key()]).decode(encoded)

    async def test_a_changed_payload_is_refused(self) -> None:
        cipher = PayloadCipher([new_key()])
        (encoded,) = await cipher.encode(payloads("hello"))
        encoded.data = encoded.data[:-1] + bytes([encoded.data[-1] ^ 1])
        with pytest.raises(ValueError, match="was changed"):
            await cipher.decode([encoded])

    async def test_equal_small_payloads_differ_and_equal_large_ones_do_not(self) -> None:
        cipher = PayloadCipher([new_key()])
        large = base64.b64encode(os.urandom(EXTERNAL_BYTES * 2)).decode()
        small_one, small_two = await cipher.encode(payloads("small", "small"))
        large_one, large_two = await cipher.encode(payloads(large, large))
        assert small_one.data != small_two.data
        assert large_one.data == large_two.data

    async def test_summaries_stay_readable(self) -> None:
        (encoded,) = await PayloadCipher([new_key()]).encode(payloads(PlainText("agent planner")))
        assert encoded.data == b'"agent planner"'

    @pytest.mark.parametrize(
        ("metadata", "data"),
        [
            (
                {"encoding": b"binary/encrypted", "key-id": b"d010939d"},
                "0cuK1NzZMgzesNF5q5wjyhRDwROi/YX1mD4ZcPcjLaMiOuC7ymlCdexkibfKBnTqJeRdxCSX3rF9yV5b",
            ),
            (
                {"encoding": b"binary/encrypted"},
                "0BCTnY8V8zk0Qq+fr2KUgHn095eqRrNQOWZ1DOiCff4dRV9ssf89SIAurT1iwGH4mTMmsBr8F7pJa3+T",
            ),
        ],
        ids=["first", "second"],
    )
    async def test_histories_written_before_can_be_read(self, metadata: dict[str, bytes], data: str) -> None:
        """The preset dictionaries are part of the format: this fails when one changes."""
        key = SecretStr(base64.b64encode(bytes(range(32))).decode())
        written = Payload(metadata=metadata, data=base64.b64decode(data))
        expected: Json = {"step": {"run": {"run_id": "run_01"}, "events": []}, "usage": {"total_tokens": 3}}
        assert values(await PayloadCipher([key]).decode([written])) == [expected]

    async def test_what_our_payloads_are_made_of_takes_little_room(self) -> None:
        """Forty bytes are the key's id, the nonce, the tag and the first byte of what was compressed."""
        answer: Json = {"length": 2, "text": "", "finish_reason": "stop", "attempt": 1, "usage": {}}
        (encoded,) = await PayloadCipher([new_key()]).encode(payloads(answer))
        assert len(encoded.data) < 60

    @pytest.mark.parametrize("key", ["", "short", base64.b64encode(b"x" * 31).decode(), "not base64 at all!"])
    def test_a_bad_key_is_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(SettingsError) as caught:
            PayloadCipher([SecretStr(key)])
        assert not key or key not in caught.value.detail
