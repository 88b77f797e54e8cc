"""Ten no-op steps in sequence on Temporal, against ten activities called by a workflow written by hand."""

from bench.engines import FLOOR, Engines, history, together, with_engines
from bench.hand_written import Calls
from bench.harness import Measurement, median
from bench.shapes import chain

STEPS = 10
ROUNDS = 3
ALONE = 15
AT_ONCE = 100


def measure() -> list[Measurement]:
    return with_engines(_measure)


async def _measure(engines: Engines) -> list[Measurement]:
    starts = {"ours": engines.ours(chain(STEPS)), "floor": engines.floor(Calls(STEPS))}
    latency: dict[str, list[float]] = {name: [] for name in starts}
    throughput: dict[str, list[float]] = {name: [] for name in starts}
    cpu: dict[str, list[float]] = {name: [] for name in starts}
    for start in starts.values():
        await together(start, 10)  # caches
    for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine meets both
        for name, start in starts.items():
            latency[name] += [await together(start) for _ in range(ALONE)]
            before = engines.worker_seconds()
            throughput[name].append(AT_ONCE / await together(start, AT_ONCE))
            cpu[name].append((engines.worker_seconds() - before) / (AT_ONCE * STEPS))
    sizes = {
        name: float(sum(event.ByteSize() for event in await history(start))) / STEPS for name, start in starts.items()
    }
    return _rows(latency, throughput, cpu, sizes)


def _rows(
    latency: dict[str, list[float]],
    throughput: dict[str, list[float]],
    cpu: dict[str, list[float]],
    sizes: dict[str, float],
) -> list[Measurement]:
    fast = {name: median(values) for name, values in throughput.items()}
    alone = {name: median(values) * 1000 for name, values in latency.items()}
    work = {name: median(values) * 1000 for name, values in cpu.items()}
    return [
        Measurement(
            f"{STEPS} steps, {AT_ONCE} runs at once",
            "runs/s",
            fast["ours"],
            fast["floor"],
            FLOOR,
            "higher",
            "ratio at least 0.85",
            fast["ours"] >= 0.85 * fast["floor"],
        ),
        Measurement(
            f"{STEPS} steps, one run alone, p50",
            "ms",
            alone["ours"],
            alone["floor"],
            FLOOR,
            "lower",
            "ratio at most 1.15",
            alone["ours"] <= 1.15 * alone["floor"],
        ),
        Measurement(
            f"the worker's CPU for a step, {AT_ONCE} runs at once",
            "ms",
            work["ours"],
            work["floor"],
            FLOOR,
            "lower",
            "ratio at most 1.3",
            work["ours"] <= 1.3 * work["floor"],
        ),
        Measurement(
            "history of a step",
            "bytes",
            sizes["ours"],
            sizes["floor"],
            FLOOR,
            "lower",
            "at most 950 bytes",
            sizes["ours"] <= 950,
        ),
    ]
