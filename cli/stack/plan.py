"""From the settings to the parts: what is started, what somebody else runs, and the settings that each part gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from cli.stack import parts
from cli.stack.environment import MIGRATIONS, check_settings, named, object_store, own
from cli.stack.keys import secret_keys
from cli.stack.model_server import MODEL_NAME
from cli.stack.parts import Part
from cli.stack.ports import LOOPBACK, PART_NAMES
from cli.stack.probes import Connect, http_probe, mongo_probe, redis_probe, temporal_probe
from cli.stack.settings import ADDRESS_FIELDS, StackSettings
from cli.stack.state import DataFolder
from studio.errors import SettingsError
from studio.settings import PREFIX, mask_url, references

SERVERS = ("temporal", "temporal-ui", "redis", "mongo", "model", "embeddings")
SERVICES = ("llm", "prompts", "api", "worker")
STOP_ORDER = ("worker", "api", "prompts", "llm")
"""Then everything else at once."""

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "llm": (),
    "prompts": ("redis", "mongo"),
    "api": ("temporal", "redis"),
    "worker": ("temporal", "redis"),
}
EMBEDDING_MODELS = ("multilingual-e5-small-q4", "e5-query", "e5-passage")
"""One model under three names: the last two say which side of a search the text is on."""
_FREE_OF_CHARGE = {"input_per_million": "0", "output_per_million": "0"}  # it runs on the user's own machine


class PlanError(Exception):
    """The parts asked for cannot be started like this; the message says what to add."""


@dataclass(frozen=True)
class Plan:
    parts: tuple[Part, ...]
    migrations: Mapping[str, str]
    """The settings that the migrations get."""
    stores: tuple[str, ...]
    """What to migrate before the services start: `sql`, `prompts`, `temporal`."""


def make_plan(settings: StackSettings, ports: Mapping[str, int], only: Sequence[str], folder: DataFolder) -> Plan:
    """`only` names the parts to start, none means all. The settings of each service are checked.

    Raises `PlanError`, `parts.NotInstalled`, `SettingsError`, and `StartFailed` when the folder's key is missing.
    """
    wanted = set(only or PART_NAMES)
    if only and "temporal-ui" in wanted:
        wanted.add("temporal")
    if not only and settings.upstreams:
        wanted -= {"model", "embeddings"}
    found: dict[str, Part] = {}
    codec_url = (settings.address_of("api") or f"http://{LOOPBACK}:{ports['api']}").rstrip("/") + "/codec"
    for name, build in _servers(ports, folder, "temporal-ui" in wanted, codec_url).items():
        address = settings.address_of(name)
        if address and (name in wanted or _needed(name, wanted)):
            found[name] = external_part(name, address, settings)
        elif name in wanted and not (name == "temporal-ui" and "temporal" in found and found["temporal"].external):
            found[name] = build()
    environment = _environment(settings, ports, found, wanted, folder)
    for name in SERVICES:
        if name in wanted:
            found[name] = _service(name, settings, ports, found, environment)
    started = {name for name in SERVICES if name in found and not found[name].external}
    check_settings({name: own(name, environment) for name in SERVICES if name in started})
    stores = [*(["sql"] if started & {"api", "worker"} else []), *(["prompts"] if "prompts" in started else [])]
    if "temporal" in found and found["temporal"].external and started & {"api", "worker"}:
        stores.append("temporal")
    return Plan(tuple(found.values()), own(MIGRATIONS, environment), tuple(stores))


def temporal_connect(settings: StackSettings, address: str) -> Connect:
    from temporalio.client import Client
    from temporalio.service import TLSConfig

    tls: bool | TLSConfig = settings.temporal_api_key is not None
    if settings.temporal_tls_cert and settings.temporal_tls_key:
        tls = TLSConfig(
            client_cert=_content("STUDIO_TEMPORAL_TLS_CERT", settings.temporal_tls_cert),
            client_private_key=_content("STUDIO_TEMPORAL_TLS_KEY", settings.temporal_tls_key),
        )
    key = settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None

    async def connect() -> Client:
        return await Client.connect(address, namespace=settings.temporal_namespace, tls=tls, api_key=key)

    return connect


def _content(variable: str, path: Path) -> bytes:
    """Raises `SettingsError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{variable} is {str(path)!r}: {error.strerror}.") from None


def _servers(
    ports: Mapping[str, int], folder: DataFolder, with_ui: bool, codec_url: str
) -> dict[str, Callable[[], Part]]:
    ui_port = ports["temporal-ui"] if with_ui else None

    def temporal() -> Part:
        return parts.temporal(
            ports["temporal"], ui_port, _inside(folder, "temporal") / folder.temporal_file.name, codec_url
        )

    return {
        "temporal": temporal,
        "temporal-ui": lambda: parts.temporal_ui(ports["temporal-ui"]),
        "redis": lambda: parts.redis(ports["redis"], _inside(folder, "redis")),
        "mongo": lambda: parts.mongo(ports["mongo"], _inside(folder, "mongo")),
        "model": lambda: parts.model(ports["model"]),
        "embeddings": lambda: parts.embeddings(ports["embeddings"]),
    }


def _inside(folder: DataFolder, name: str) -> Path:
    path = folder.root / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def _needed(name: str, wanted: set[str]) -> bool:
    return any(name in _NEEDS[service] for service in SERVICES if service in wanted)


def external_part(name: str, address: str, settings: StackSettings) -> Part:
    match name:
        case "redis":
            probe = redis_probe(address)
        case "mongo":
            probe = mongo_probe(address)
        case "temporal":
            probe = temporal_probe(temporal_connect(settings, address), settings.temporal_namespace)
        case _:
            probe = http_probe(f"{address.rstrip('/')}/health/ready")
    return Part(name, mask_url(address), probe)


def _service(
    name: str,
    settings: StackSettings,
    ports: Mapping[str, int],
    found: Mapping[str, Part],
    environment: Mapping[str, str],
) -> Part:
    address = settings.address_of(name)
    if address:
        return external_part(name, address, settings)
    missing = [need for need in _NEEDS[name] if need not in found]
    if name == "llm" and "STUDIO_UPSTREAMS" not in environment:
        missing.append("model")
    if missing:
        flags = " ".join(f"--only {need}" for need in missing)
        variables = ", ".join(_variable(need) for need in missing)
        raise PlanError(f"{name} needs {', '.join(missing)}: add {flags}, or set {variables}.")
    needs = (*_NEEDS[name], MIGRATIONS)
    env = own(name, environment)
    if name in {"worker", "api"} and settings.blob_url:
        env |= object_store()
    if name == "worker":
        connect = temporal_connect(settings, environment["STUDIO_TEMPORAL_ADDRESS"])
        namespace, task_queue = settings.temporal_namespace, settings.temporal_task_queue
        return parts.worker(env, connect, namespace, task_queue, needs, settings.worker_drain_seconds)
    if name == "llm":
        return parts.service(name, "llm_service", settings.host, ports[name], env | _referenced(settings), ())
    module = {"prompts": "prompt_service", "api": "api"}[name]
    return parts.service(name, module, settings.host, ports[name], env, needs)


def _referenced(settings: StackSettings) -> dict[str, str]:
    """The variables that `STUDIO_UPSTREAMS` refers to as `${NAME}`, be it JSON or the file that it names."""
    text = settings.upstreams.get_secret_value().strip() if settings.upstreams else ""
    if text and not text.startswith(("[", "{")):
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return {}  # the settings of the LLM engine are checked afterwards, and say so
    return named(references(text))


def _variable(part: str) -> str:
    return "STUDIO_UPSTREAMS" if part == "model" else PREFIX + ADDRESS_FIELDS[part].upper()


def _environment(
    settings: StackSettings, ports: Mapping[str, int], found: Mapping[str, Part], wanted: set[str], folder: DataFolder
) -> dict[str, str]:
    given_keys = settings.secret_keys.get_secret_value() if settings.secret_keys else None
    planned = {
        "STUDIO_DATA_DIR": str(folder.root),
        "STUDIO_DATABASE_URL": settings.database_url or f"sqlite+aiosqlite:///{folder.database_file}",
        "STUDIO_CLICKHOUSE_URL": settings.clickhouse_url or f"chdb://{folder.root / 'traces'}",
        "STUDIO_SECRET_KEYS": secret_keys(folder, given_keys),
        "STUDIO_TEMPORAL_NAMESPACE": settings.temporal_namespace,
        "STUDIO_TEMPORAL_TASK_QUEUE": settings.temporal_task_queue,
    }
    for name, field in ADDRESS_FIELDS.items():
        address = settings.address_of(name)
        if address is None and name in found:
            address = found[name].address
        elif address is None and name in SERVICES:  # also one that is not started now may be later
            address = f"http://{LOOPBACK}:{ports[name]}"
        if address:
            planned[PREFIX + field.upper()] = address
    if settings.temporal_ui_url or "temporal-ui" in found:
        planned["STUDIO_TEMPORAL_UI_URL"] = settings.temporal_ui_url or found["temporal-ui"].address
    upstreams = settings.upstreams.get_secret_value() if settings.upstreams else _local_upstreams(found)
    if upstreams:
        planned["STUDIO_UPSTREAMS"] = upstreams
    if settings.model_aliases:
        planned["STUDIO_MODEL_ALIASES"] = settings.model_aliases
    elif "model" not in found and "llm" in wanted:
        planned["STUDIO_MODEL_ALIASES"] = "{}"  # the default alias would name an upstream that is not there
    return planned


def _local_upstreams(found: Mapping[str, Part]) -> str | None:
    upstreams: list[dict[str, object]] = []
    if "model" in found:
        local = {"name": "local", "kind": "openai", "base_url": f"{found['model'].address}/v1", "models": [MODEL_NAME]}
        upstreams.append({**local, "prices": {MODEL_NAME: _FREE_OF_CHARGE}})
    if "embeddings" in found:
        local = {"name": "local-embeddings", "kind": "openai", "base_url": f"{found['embeddings'].address}/v1"}
        prices = dict.fromkeys(EMBEDDING_MODELS, _FREE_OF_CHARGE)
        upstreams.append({**local, "models": EMBEDDING_MODELS, "prices": prices})
    return orjson.dumps(upstreams).decode() if upstreams else None
