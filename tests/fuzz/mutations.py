"""Valid requests with something wrong deep inside, as bytes that no JSON library would write.

Every answer is a success, or a problem document of a 4xx.
"""

import copy
import http.client
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from studio.contracts.base import Json, JsonObject
from studio.web.problems import MEDIA_TYPE
from tests.fuzz.seeds import Hint


@dataclass(frozen=True)
class Raw:
    """Stands in the body as it is."""

    text: str


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Json


_DEEP = 300
STRANGE: Sequence[Any] = (
    *(None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, 1e308, -0.0),
    *(
        "",
        " ",
        "\x00",
        "\x7f\x1b[31m",
        "a" * 100_000,
        "é́",
        "\u202e",
        "😀",
        "../..",
        "${{ 1 / 0 }}",
        "${{",
        "{{ x }}",
        "{% raw %}",
    ),
    *([], {}, [[]], {"": None}, {"__proto__": 1}, [None] * 5000, {str(n): n for n in range(2000)}),
    *map(
        Raw,
        (
            *(
                '"\\ud800"',
                '"\\udc00\\ud800"',
                '"\\u0000"',
                "NaN",
                "-Infinity",
                "1e999",
                "1e-999",
                "01",
                "1.",
                "'a'",
                "tru",
            ),
            *(
                "[" * _DEEP + "]" * _DEEP,
                '{"a":' * _DEEP + "1" + "}" * _DEEP,
                "[1,]",
                '{"a":1,"a":2}',
                "1.0000000000000000001",
            ),
        ),
    ),
)


def requests(hints: Sequence[Hint]) -> list[Request]:
    """One for each operation of the API that takes a body."""

    def known(path: str, **names: str) -> str:
        for hint in sorted(hints, key=lambda hint: -len(hint.path)):
            if path.startswith(hint.path) and not hint.methods:
                path = path.replace(f"{{{hint.parameter}}}", str(names.get(hint.parameter, hint.values[0])), 1)
        return path

    step: JsonObject = {"id": "one", "transform": {"a": [1, {"b": "${{ input }}"}]}, "retry": {"max_attempts": 2}}
    inner: JsonObject = {"id": "two", "conditional": {"cases": [{"when": "${{ true }}", "steps": [step]}]}}
    nodes: list[Json] = [{"id": "a", "transform": 1}, {"id": "b", "transform": 2}]
    graph: JsonObject = {"id": "three", "graph": {"nodes": nodes, "edges": [{"from": "a", "to": "b"}]}}
    workflow: JsonObject = {
        "name": "mutated",
        "pattern": "sequential",
        "input_schema": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}},
        "limits": {"timeout": "1h", "max_steps": 10},
        "steps": [step, inner, graph],
        "output": "${{ prev.output }}",
    }
    agent: JsonObject = {"name": "mutated", "model": "default", "instructions": "Hi", "params": {"temperature": 0.5}}
    schedule: JsonObject = {"name": "mutated", "workflow": "known", "cron": ["0 9 * * *"], "input": {"n": 1}}
    start: JsonObject = {"input": {"n": [1, "2", {"three": 3.5}]}, "metadata": {"a": "b"}, "priority": 3}
    documents: list[Json] = [{"kind": "workflow", **workflow}, {"kind": "agent", **agent}]
    api, run = "/api/v1", "/api/v1/runs/{run_id}"
    payload: JsonObject = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ=="}
    chosen: list[tuple[str, str, Json]] = [
        ("POST", f"{api}/apply", documents),
        ("POST", f"{api}/workflows/validate", documents),
        ("POST", f"{api}/workflows", workflow),
        ("POST", f"{api}/agents", agent),
        ("POST", f"{api}/schedules", schedule),
        ("POST", f"{api}/workflows/{{ref}}/runs", start),
        ("POST", f"{api}/agents/{{ref}}/runs", start),
        ("POST", f"{api}/workflows/{{ref}}/runs:batch", {"items": [{"input": start["input"]}], "metadata": {"a": "b"}}),
        ("POST", f"{api}/schedules/{{ref}}/trigger", {"overlap": "skip"}),
        (
            "POST",
            f"{api}/schedules/{{ref}}/backfill",
            {"start_at": "2026-03-01T00:00:00Z", "end_at": "2026-03-02T00:00:00Z"},
        ),
        ("POST", f"{api}/schedules/{{ref}}/pause", {"note": "why"}),
        ("POST", f"{run}/retry", {"inputs": {"broken": {"n": 1}}, "plan_only": True, "limits": {"max_steps": 5}}),
        ("POST", f"{run}/replay", {"input": {"n": 1}, "overrides": {"copy": [1]}, "metadata": {"a": "b"}}),
        ("POST", f"{run}/signals/{{name}}", {"paid": [1, {"by": "ada"}]}),
        ("POST", f"{run}/approvals/{{step_id}}", {"decision": "approve", "comment": "ok", "edit": {"n": [1]}}),
        ("POST", f"{run}/steps/{{step_id}}/resolve", {"action": "done", "output": {"n": [1]}}),
        ("PATCH", f"{run}/limits", {"max_steps": 100, "timeout": "1h"}),
        ("POST", "/codec/encode", {"payloads": [payload]}),
        ("POST", "/codec/decode", {"payloads": [payload]}),
    ]
    return [Request(method, known(path), body) for method, path, body in chosen]


def mutate(body: Json, source: random.Random) -> bytes:
    """The body's bytes with one to three changes, some of them to the bytes themselves."""
    changed: Any = json.loads(json.dumps(body))
    for _ in range(source.randint(1, 3)):
        places = list(_places(changed))
        holder, key = source.choice(places) if places else ([changed], 0)
        _CHANGES[source.randrange(len(_CHANGES))](holder, key, source)
    text = _text(changed, source).encode("utf-8", "surrogatepass")
    return _damaged(text, source) if source.random() < 0.15 else text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each member of each map and list."""
    members: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        members = enumerate(cast("list[Any]", value))
    for key, inner in members:
        yield value, key
        yield from _places(inner)


def _replace(holder: Any, key: Any, source: random.Random) -> None:
    holder[key] = copy.deepcopy(source.choice(STRANGE))  # another change may be inside it


def _remove(holder: Any, key: Any, source: random.Random) -> None:
    del holder[key]


def _rename(holder: Any, key: Any, source: random.Random) -> None:
    if isinstance(holder, dict):
        holder[source.choice(["", "kind", "id", "\x00", "😀", "a" * 5000, "metadata.KEY"])] = holder.pop(key)


def _wrap(holder: Any, key: Any, source: random.Random) -> None:
    holder[key] = [holder[key]] if source.random() < 0.5 else {"value": holder[key]}


def _multiply(holder: Any, key: Any, source: random.Random) -> None:
    if isinstance(holder, list):
        holder.extend([holder[key]] * source.choice([1, 50]))


_CHANGES: Sequence[Callable[[Any, Any, random.Random], None]] = (
    _replace,
    _replace,
    _replace,
    _remove,
    _rename,
    _wrap,
    _multiply,
)


def _text(value: Any, source: random.Random) -> str:
    """JSON, with a member twice now and then."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, list):
        return f"[{','.join(_text(inner, source) for inner in cast('list[Any]', value))}]"
    if isinstance(value, dict):
        members = [f"{json.dumps(key)}:{_text(inner, source)}" for key, inner in cast("dict[str, Any]", value).items()]
        if members and source.random() < 0.03:
            members.append(source.choice(members))
        return f"{{{','.join(members)}}}"
    return json.dumps(value, ensure_ascii=source.random() < 0.5)


def _damaged(text: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(text) + 1)
    piece = source.choice([b"\xff", b"\xc0\x80", b"\xef\xbb\xbf", b"\x00", b"\xed\xa0\x80", b"}", b"", b"\xe2\x80\xa8"])
    return text[:at] + (piece + text[at:] if source.random() < 0.7 else b"")


def send(url: str, request: Request, body: bytes) -> str | None:
    """What is wrong with the answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        connection.request(request.method, request.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content, media_type = answer.read(), answer.headers.get("Content-Type", "")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error!r}"
    finally:
        connection.close()
    return verdict(answer.status, media_type, content)


def verdict(status: int, media_type: str, content: bytes) -> str | None:
    if status >= 500:
        return f"{status}: {content[:300]!r}"
    try:
        found: Any = json.loads(content) if content else {}
    except ValueError:
        return f"{status} with a body that is no JSON: {content[:300]!r}"
    if status >= 400 and (media_type != MEDIA_TYPE or found.get("status") != status or not found.get("detail")):
        return f"{status} as {media_type}, no problem document: {content[:300]!r}"
    return None


def run(url: str, hints: Sequence[Hint], cases: int, seed: int) -> list[str]:
    """What was wrong, each with the request that shows it."""
    source, valid = random.Random(seed), requests(hints)
    wrong: list[str] = []
    for number in range(cases):
        request = valid[number % len(valid)]
        body = mutate(request.body, source).replace(b'"mutated"', b'"mutated-%d"' % number)  # else taken, and a 409
        found = send(url, request, body)
        if found is not None:
            wrong.append(f"{request.method} {request.path} {body[:1000]!r}: {found}")
    return wrong
