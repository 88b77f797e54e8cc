"""What is sent as a mutation, and which answers are wrong."""

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from studio.web.problems import MEDIA_TYPE
from tests.fuzz.mutations import Request, mutate, requests, verdict
from tests.fuzz.seeds import Hint

VALID = requests([Hint("/api/v1/workflows/{ref}", "ref", ["known"])])


class TestMutate:
    @settings(deadline=None)  # some bodies have megabytes
    @given(st.integers(0, 2**32), st.sampled_from(VALID))
    def test_is_repeatable_and_leaves_the_valid_request_alone(self, seed: int, valid: Request) -> None:
        before = json.dumps(valid.body)
        first, second = (mutate(valid.body, random.Random(seed)) for _ in range(2))
        assert first == second
        assert json.dumps(valid.body) == before

    def test_most_differ_from_the_valid_request(self) -> None:
        source = random.Random(1)
        body = VALID[2].body
        same = sum(mutate(body, source) == json.dumps(body, separators=(",", ":")).encode() for _ in range(100))
        assert same < 10


class TestVerdict:
    def test_a_problem_document_and_a_success_are_well(self) -> None:
        problem = json.dumps({"type": "urn:studio:invalid-input", "status": 422, "detail": "it is wrong"}).encode()
        assert verdict(422, MEDIA_TYPE, problem) is None
        assert verdict(200, "application/json", b"{}") is None
        assert verdict(204, "", b"") is None

    def test_names_what_is_wrong(self) -> None:
        problem = json.dumps({"status": 422, "detail": "it is wrong"}).encode()
        assert verdict(500, MEDIA_TYPE, problem)
        assert verdict(422, "application/json", problem)
        assert verdict(400, MEDIA_TYPE, problem)
        assert verdict(400, MEDIA_TYPE, b"")
        assert verdict(200, "application/json", b"<html>")
