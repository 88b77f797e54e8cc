"""How payloads are made small: deflate with a preset dictionary of what they are mostly made of.

The first byte says how the rest was written. What is here can never change, since histories were written with it: a
better dictionary gets a byte of its own.
"""

import zlib

from isal import isal_zlib

LARGE_BYTES = 1024 * 1024
"""From here on time counts for more than size: ISA-L's deflate is about ten times as fast as zlib's."""
_AS_IT_IS, _ZLIB, _DEFLATE = b"\x00", b"\x01", b"\x02"
_FIRST = (
    b'{"status":"succeeded","output":null,"error":{"type":"upstream_error","message":"","step_id":""}"cost_usd":"0.'
    b'"progress":{"steps":[{"id":"","kind":"transform","name":"","agent":""}]"retry":{"max_attempts":"non_retryable":'
    b'{"workflow":{"kind":"workflow","name":"","description":"","input_schema":{"type":"object","required":["properties":'
    b'"pattern":"sequential","steps":[{"id":"","when":"${{ steps.","agent":"","input":"${{ input.","timeout":"'
    b'transform":'
    b'"agents":{"version":1,"spec":{"model":"default","params":{"temperature":0.,"max_tokens":"instructions":"You '
    b'{"context":{"run_id":"run_01","project_id":"default","workflow_name":"","root_span_id":"","metadata":{}}'
    b'{"length":1,"text":"","finish_reason":"stop","attempt":1,"usage":{"prompt_tokens":0,"completion_tokens":0,'
    b'"total_tokens":0,"llm_calls":1,"tool_calls":0},"cost_usd":null}'
    b'{"step":{"run":{"run_id":"run_01","project_id":"default","workflow_name":"","workflow_version":1,"trace_id":"",'
    b'"session_id":null,"user_id":null},"path":"","agent":"","span_id":"","conversation_id":"run_01","events":['
    b'{"ts":"2026-01-01T00:00:00.000000Z","attempt":1,"type":"run.started","data":{"status":"running"}},'
    b'{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,"type":"step.succeeded","data":{"kind":"agent",'
    b'"duration_ms":1,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":1,"llm_calls":1,"tool_calls":0},'
    b'"cost_usd":"0.00","output":""}},{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,"type":"step.started",'
    b'"data":{"kind":"agent","agent":"","input":{}}}]},"length":1,"opening":{"instructions":null,"message":null,"input":}'
    b',"prompt":"","model":"default","params":{}}\x12\n\n\x16\n\x08encoding\x12\njson/plain\x12'
)
"""Before calls lost their run's context; only read."""
_SECOND = (
    # A run's start, its steps and its end.
    b'{"status":"failed","output":null,"error":{"type":"upstream_error","message":"","step_id":"'
    b'"progress":{"status":"running","steps":[{"id":"","kind":"transform","name":null,"agent":null,"status":"skipped",'
    b'"started_at":"","ended_at":"","waiting":null}],"usage":{},"cost_usd":null},"metadata":{}},"input_schema":{"type":'
    b'"object","required":["properties":{"type":"string"}},"retry":{"max_attempts":"initial_interval":"non_retryable":["'
    b'"limits":{"max_cost_usd":"max_tokens":"timeout":"compensate":"hierarchical":{"manager":"workers":[{"wait":{"for":"'
    b'"conditional":{"cases":[{"graph":{"nodes":[{"edges":[{"from":"sequential":{"parallel":{"branches":[{"for_each":"${'
    b'{ ","max_concurrency":"join":"any","approval":{"message":"signal":"component":"loop":{"do":[{"id":"",'
    b'"until":"${{ last "max_iterations":"on_error":"continue","'
    b'{"workflow":{"steps":[{"id":"","transform":"${{ steps."when":"${{ input."output":"${{ prev.output }}","agent":"'
    b'"input":{"id":"","input":,"agent":""}],"name":"","description":"","pattern":"sequential"},"agents":{"":{"name":"",'
    b'"version":1,"spec":{"prompt":{"name":"","label":"production"},"model":"default","params":{"temperature":0.,"max_tokens":'
    b'"instructions":"You "message":"{{ "}}}}{"context":{"run_id":"run_01","project_id":"default","workflow_name":"","'
    b'workflow_version":1,"trace_id":"","session_id":"","user_id":null},"root_span_id":"","metadata":{},"input":{"'
    # What a model call answers.
    b'{"length":1,"text":"","finish_reason":"stop","attempt":1,"usage":{}}{"length":2,"text":"","finish_reason":"stop",'
    b'"attempt":1,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":1,"llm_calls":1},"cost_usd":"0.00"}'
    # What it is asked, with the events that go along; what is commonest last.
    b'"type":"step.skipped","data":{"kind":"agent","when":""type":"step.waiting","data":{"for":"timer","until":"'
    b'"type":"step.failed","data":{"kind":"agent","duration_ms":1,"error":{"type":"timeout","message":"","step_id":"'
    b'"type":"run.started","data":{"status":"running"}},{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,'
    b'"type":"step.started","data":{"kind":"transform"}},{"ts":"2026-0","step_id":"","attempt":1,"type":"step.succeeded",'
    b'"data":{"kind":"transform","duration_ms":0,"output":"","iteration":1}}]},"index":1}}]},{"ts":"2026-0","step_id":"",'
    b'"attempt":1,"type":"usage","data":{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":1,"llm_calls":1,'
    b'"tool_calls":0},"cost_usd":"0.0"}},{"ts":"2026-0","step_id":"","attempt":1,"type":"edge.taken","data":{"from":"",'
    b'"to":"","why":"always"}},{"ts":"2026-0","prompt":"","length":3,"opening":{"instructions":"You ","message":"{{ ",'
    b'"input":{""},"model":"default","params":{"temperature":0.2,"max_tokens":{"step":{"path":"","agent":"","attempts_before":0,'
    b'"events":[{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,"type":"step.succeeded","data":{"kind":"agent",'
    b'"duration_ms":1,"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"llm_calls":0,"tool_calls":0},'
    b'"cost_usd":null,"output":""}},{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,"type":"step.started",'
    b'"data":{"kind":"agent","agent":"","input":}}]},"opening":{"instructions":null,"message":"","input":},"model":"default",'
    b'"params":{}}\x12\n\n\x16\n\x08encoding\x12\njson/plain\x12'
)
"""The commonest last: what is near costs fewer bits."""


def compress(body: bytes) -> bytes:
    """Raw deflate (RFC 1951): zlib's header and checksum would be ten bytes, and encryption checks already."""
    if len(body) < LARGE_BYTES:
        compressor = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS, zdict=_SECOND)
    else:
        compressor = isal_zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS, zdict=_SECOND)
    packed = compressor.compress(body) + compressor.flush()
    return _DEFLATE + packed if len(packed) < len(body) else _AS_IT_IS + body


class TooLarge(ValueError):
    """What is packed is larger than its reader wants."""


def decompress(packed: bytes, limit: int | None = None) -> bytes:
    """What `compress`, of this version or an earlier one, was given. Raises `TooLarge` when that is more than `limit`
    bytes, once so many are unpacked: a kilobyte can stand for a megabyte.
    """
    form = packed[:1]
    if form == _AS_IT_IS:
        return _bounded(packed[1:], limit)
    if form == _ZLIB:
        decompressor = zlib.decompressobj(zdict=_FIRST)
    else:
        decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_SECOND)
    if limit is None:
        return decompressor.decompress(packed[1:]) + decompressor.flush()
    return _bounded(decompressor.decompress(packed[1:], limit + 1), limit)


def _bounded(body: bytes, limit: int | None) -> bytes:
    if limit is not None and len(body) > limit:
        raise TooLarge(f"more than {limit} bytes")
    return body
