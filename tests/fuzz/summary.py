"""What was fuzzed, in figures."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from studio.contracts.base import JsonObject


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


@dataclass(frozen=True)
class Counts:
    """Of one service."""

    answers: Mapping[str, Mapping[str, int]]
    """Operation (`POST /api/v1/agents`) to status to number of cases; the status is `none` without an answer."""
    refusals: Mapping[str, Mapping[str, int]]
    """Operation to the most frequent reasons that it gave."""
    links: Mapping[str, int]
    """Link of the document to how often it was followed."""
    inferred: Mapping[str, int]
    """Likewise of links that schemathesis found by itself, between fields of one name."""
    sequences: int
    failures: int
    errors: int
    """Operations that could not be fuzzed to the end, and crashes of schemathesis."""

    def plus(self, more: "Counts") -> "Counts":
        return Counts(
            answers=_sums(self.answers, more.answers),
            refusals=_sums(self.refusals, more.refusals),
            links=Counter(self.links) + Counter(more.links),
            inferred=Counter(self.inferred) + Counter(more.inferred),
            sequences=self.sequences + more.sequences,
            failures=self.failures + more.failures,
            errors=self.errors + more.errors,
        )


def number_of_links(document: JsonObject) -> int:
    return sum(
        len(response.get("links", {}))
        for item in document["paths"].values()
        for operation in item.values()
        for response in operation["responses"].values()
    )


def _sums(one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]) -> dict[str, Counter[str]]:
    return {name: Counter(one.get(name, {})) + Counter(other.get(name, {})) for name in {*one, *other}}


def report(service: str, document: JsonObject, counts: Counts, seconds: float) -> tuple[list[str], bool]:
    """Lines, and whether all is well: no failure, no error, and every operation of the document was called."""
    operations = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    missed = [name for name in operations if name not in counts.answers]
    refused = [name for name in operations if name not in missed and not _succeeded(counts.answers[name])]
    cases = sum(number for found in counts.answers.values() for number in found.values())
    declared = number_of_links(document)
    followed = sum(counts.links.values()) + sum(counts.inferred.values())
    line = (
        f"{service}: {cases} cases on {len(operations) - len(missed)} of {len(operations)} operations "
        f"in {seconds:.0f} s: {counts.failures} failures, {counts.errors} errors; "
        f"{counts.sequences} sequences that followed a link {followed} times, "
        f"{len(counts.links)} of the document's {declared} links and {len(counts.inferred)} more"
    )
    lines = [
        line,
        *(f"  never called: {name}" for name in missed),
        *(f"  never succeeded: {name}: {_most_frequent(counts.refusals[name])}" for name in refused),
    ]
    return lines, not (counts.failures or counts.errors or missed)


def _most_frequent(numbers: Mapping[str, int]) -> str:
    return max(numbers, key=lambda name: numbers[name])


def _succeeded(answers: Mapping[str, int]) -> bool:
    return any(status.startswith("2") for status in answers)
