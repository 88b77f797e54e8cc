"""A choice by a model counts only when the answer is the choice."""

import pytest

from studio.contracts.base import JsonObject
from studio.engine.memory_driver import MemoryRun
from tests.support.memory_runs import carry, says


def routed(answer: str) -> MemoryRun:
    choices = {
        "refund": {"steps": [{"id": "pay", "transform": "PAID"}]},
        "order": {"steps": [{"id": "sell", "transform": "SOLD"}]},
    }
    block: JsonObject = {"route": {"agent": {}, "choices": choices}, "else": [{"id": "file", "transform": "FILED"}]}
    return carry({"id": "sort", "conditional": block}, replies={"sort/router.choice": [says(answer)]})


@pytest.mark.parametrize(
    "answer",
    [
        "refund",
        "Refund.",
        "**refund**",
        '"refund"',
        "\u201crefund\u201d",
        '{"choice": "refund"}',
        '```json\n{"choice": "refund"}\n```',
        'Here you are: {"choice": "refund"}',
        '<think>An order? {"choice": "order"} No.</think>{"choice": "refund"}',
        "<think>Not an order.</think>\n\nrefund",
        "so it is no order</think>\nrefund",
    ],
)
def test_the_choice_alone_is_taken(answer: str) -> None:
    assert routed(answer).end.output == "PAID"


@pytest.mark.parametrize(
    "answer",
    [
        "This is certainly not a refund.",
        "In order to help I need more information.",
        "no refund",
        "refund order",
        "refund?",
        "re fund",
        '{"choice": "not refund"}',
        '{"choice": ["refund"]}',
        '{"choice": {"name": "refund"}}',
        '{"answer": "refund"}',
        'Not {"choice": "refund"} but {"choice": "order"}',
        '<think>{"choice": "refund"}</think>I cannot tell.',
        "<think>refund",
        "",
    ],
)
def test_everything_else_goes_to_else(answer: str) -> None:
    assert routed(answer).end.output == "FILED"
