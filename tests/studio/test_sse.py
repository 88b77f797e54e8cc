import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.sse import EventSplitter, EventTooLarge, event_data, event_type

LINES = st.sampled_from(["data: a", "data: b", ": c", "id: 7", "event: error"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def split(pieces: list[bytes], limit: int = 10_000_000) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter(limit)
    return [event for piece in pieces for event in splitter.feed(piece)], splitter.rest


@given(st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5), ENDS, st.data())
def test_events_are_the_same_however_the_bytes_are_cut(blocks: list[list[str]], end: str, data: st.DataObject) -> None:
    stream = "".join("".join(line + end for line in block) + end for block in blocks).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    events, rest = split(pieces)
    assert b"".join(events) + rest == stream
    expected = [[line[6:] for line in block if line.startswith("data")] for block in blocks]
    assert [event_data(event) for event in events] == [
        "\n".join(lines).encode() if lines else None for lines in expected
    ]


def test_one_large_event_takes_time_linear_in_its_bytes() -> None:
    piece = b"x" * 16_384

    def seconds(count: int) -> float:
        began = time.process_time()
        events, _ = split([b"data: ", *[piece] * count, b"\n\n"], limit=1 << 30)
        assert len(events) == 1
        return time.process_time() - began

    seconds(500)
    assert seconds(4_000) < 40 * max(seconds(500), 0.005)  # eight times the bytes; 64 times were it quadratic


def test_an_event_past_the_limit_is_refused_when_it_is_past_it() -> None:
    splitter = EventSplitter(100)
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLarge):
        splitter.feed(b"x" * 20)


def test_the_kind_of_an_event() -> None:
    assert event_type(b"event: error\ndata: {}\n\n") == b"error"
    assert event_type(b"data: {}\n\n") is None
    assert event_data(b"\xef\xbb\xbfdata: x\n\n") == b"x"
    assert not re.search(rb"data", event_data(b"data: 1\ndata: 2\n\n") or b"data")
