"""The Temporal client of the API, the worker and the CLI."""

from temporalio.client import Client
from temporalio.service import RetryConfig, RPCError, RPCStatusCode, TLSConfig

from studio.codec import OnMissing, data_converter
from studio.db.engine import Database
from studio.settings import TemporalSettings
from studio.store.blobs import open_blobs

_UNAVAILABLE = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.CANCELLED,  # what the SDK makes of its own `rpc_timeout`
    RPCStatusCode.ABORTED,
}

_RETRY = RetryConfig(max_elapsed_time_millis=3000)
"""Of a call while Temporal is away: somebody waits for the answer, and can ask again. What a worker reports the SDK
retries for ten seconds, whatever stands here.
"""


async def connect_temporal(
    settings: TemporalSettings, database: Database, *, lazy: bool = True, on_missing: OnMissing | None = None
) -> Client:
    """A client that encrypts, and stores large payloads apart.

    A lazy one connects at its first call, so that a service starts while Temporal is down.
    """
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
        tls=_tls(settings),
        data_converter=data_converter(settings.secret_keys, open_blobs(settings, database), on_missing),
        retry_config=_RETRY,
        lazy=lazy,
    )


def _tls(settings: TemporalSettings) -> bool | TLSConfig:
    if settings.temporal_tls_cert and settings.temporal_tls_key:
        return TLSConfig(
            client_cert=settings.temporal_tls_cert.read_bytes(),
            client_private_key=settings.temporal_tls_key.read_bytes(),
        )
    return settings.temporal_api_key is not None


def is_unavailable(error: BaseException) -> bool:
    """Whether Temporal could not be reached or did not answer in time (as opposed to refusing)."""
    if isinstance(error, RPCError):
        # A connection that is cut while a call is under way has no status of its own.
        return error.status in _UNAVAILABLE or error.message == "transport error"
    return isinstance(error, RuntimeError | ConnectionError) and "onnect" in str(error)
