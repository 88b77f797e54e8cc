"""Cursors that we did not make."""

import base64
import json
from typing import Any

import pytest

from studio.errors import InvalidInput
from studio.web.paging import decode_cursor, encode_cursor


class TestDecodeCursor:
    @pytest.mark.parametrize("key", ["run_1", "", 0, 2**63 - 1, -(2**63)])
    def test_gives_the_keys_back(self, key: str | int) -> None:
        assert decode_cursor(encode_cursor(key, "b"), 2) == [key, "b"]

    @pytest.mark.parametrize("key", ["a\0b", 2**63 + 5, -(2**63) - 1, True, False, None, 1.5, ["a"]])
    def test_refuses_what_no_store_can_compare(self, key: Any) -> None:
        cursor = base64.urlsafe_b64encode(json.dumps([key]).encode()).decode()
        with pytest.raises(InvalidInput):
            decode_cursor(cursor, 1)
