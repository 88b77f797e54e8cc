"""Payloads as they travel to Temporal: compressed, encrypted, and kept apart when they are large."""

import asyncio
import copy
import hashlib
import hmac
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, ToJsonOptions
from temporalio.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    ExternalStorage,
    JSONPlainPayloadConverter,
    PayloadCodec,
    SerializationContext,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from studio.compression import LARGE_BYTES, compress, decompress
from studio.contracts.missing import MissingPayload
from studio.contracts.plain import PlainText
from studio.db.disk import DISK_FULL, is_disk_full
from studio.errors import DependencyUnavailable, NotFound, SettingsError
from studio.payload_crowds import CROWDED_BYTES, EXTERNAL_BYTES, count_payload, is_stored_apart
from studio.secret_keys import KEY_ID_BYTES, key_id, read_key
from studio.store.blob_uses import owner_of
from studio.store.blobs import BlobStore

NONCE_BYTES = 12
ENCODING = b"binary/encrypted"
MISSING = b"studio/missing-payload"
"""Of what is handed on in place of a payload whose blob is gone; it never reaches Temporal."""
PLAIN = "studio-plain"
"""Marks, between converter and cipher only, what stays readable."""
_READABLE_MESSAGES = (b"temporal.api.sdk.v1.WorkflowMetadata",)
"""What the Temporal UI asks for progress with; holds step names and states."""
_log = structlog.get_logger(__name__)


OnMissing = Callable[[str, str], None]
"""Told which workflow reads a payload whose blob is gone, and the blob's digest."""


class PayloadCipher(PayloadCodec, WithSerializationContext):
    """AES-256-GCM over the compressed payload (NIST SP 800-38D); in front the key's id and a random nonce.

    The first key encrypts, all decrypt. Payloads that will be stored apart get a nonce derived from their content, so
    that equal ones stay equal and ten thousand runs share one stored definition.
    """

    def __init__(self, keys: Sequence[SecretStr], on_missing: OnMissing | None = None) -> None:
        if not keys:
            raise SettingsError("STUDIO_SECRET_KEYS is empty. Give at least one base64 key of 32 bytes.")
        try:
            raw = [read_key(key.get_secret_value()) for key in keys]
        except ValueError as error:
            raise SettingsError(f"STUDIO_SECRET_KEYS {error}.") from None
        self._ciphers = {key_id(key): AESGCM(key) for key in raw}
        self._newest = key_id(raw[0])
        self._nonce_key = hashlib.sha256(b"studio payload nonce" + raw[0]).digest()
        self._on_missing = on_missing
        self._workflow_id: str | None = None
        self._limit: int | None = None

    def limited(self, limit: int) -> Self:
        """One that unpacks no payload of more than `limit` bytes, but raises `TooLarge`; all its work is in threads."""
        bound = copy.copy(self)
        bound._limit = limit  # noqa: SLF001 - a copy of this object
        return bound

    def with_context(self, context: SerializationContext) -> Self:
        if self._on_missing is None or not isinstance(
            context, WorkflowSerializationContext | ActivitySerializationContext
        ):
            return self
        bound = copy.copy(self)
        bound._workflow_id = context.workflow_id  # noqa: SLF001 - a copy of this object
        return bound

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        encoded = [await _beside(self._encode, payload) for payload in payloads]
        for payload in encoded:
            count_payload(payload.ByteSize())
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if self._limit is not None:
            return [await asyncio.to_thread(self._decode, payload) for payload in payloads]
        return [await _beside(self._decode, payload) for payload in payloads]

    def _encode(self, payload: Payload) -> Payload:
        if PLAIN in payload.metadata:
            return Payload(metadata={"encoding": payload.metadata["encoding"]}, data=payload.data)
        if payload.metadata.get("messageType") in _READABLE_MESSAGES:
            return payload
        plain = compress(payload.SerializeToString(deterministic=True))
        if len(plain) >= EXTERNAL_BYTES:
            nonce = hmac.digest(self._nonce_key, plain, "sha256")[:NONCE_BYTES]
        else:
            nonce = os.urandom(NONCE_BYTES)
        data = self._newest + nonce + self._ciphers[self._newest].encrypt(nonce, plain, None)
        return Payload(metadata={"encoding": ENCODING}, data=data)

    def _decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == MISSING and self._on_missing is not None and self._workflow_id:
            self._on_missing(self._workflow_id, payload.data.decode())
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        named, sealed = _parts(payload)
        cipher = self._ciphers.get(named)
        if cipher is None:
            name = repr(named.hex())
            raise ValueError(f"a payload was encrypted with key {name}, which STUDIO_SECRET_KEYS does not hold")
        try:
            plain = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag:
            raise ValueError("a payload was changed after it was encrypted") from None
        return Payload.FromString(decompress(plain, self._limit))


async def _beside(work: Callable[[Payload], Payload], payload: Payload) -> Payload:
    """Large payloads are worked on in a thread, so that nothing else waits for them."""
    if len(payload.data) < LARGE_BYTES:
        return work(payload)
    return await asyncio.to_thread(work, payload)


def _parts(payload: Payload) -> tuple[bytes, bytes]:
    """The key's id, and nonce and ciphertext. Payloads of the first version have the id, in hex, in their metadata."""
    named = payload.metadata.get("key-id")
    if named is not None:
        return bytes.fromhex(named.decode()), payload.data
    return payload.data[:KEY_ID_BYTES], payload.data[KEY_ID_BYTES:]


class BlobStorage(StorageDriver):
    """The SDK's external storage over our blob store. A claim is the SHA-256 of the stored (encrypted) payload."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def name(self) -> str:
        return "studio"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        owner = owner_of(context.target.id if isinstance(context.target, StorageDriverWorkflowInfo) else None)
        claims: list[StorageDriverClaim] = []
        for payload in payloads:
            with _faults():
                digest = await self._blobs.put(payload.SerializeToString(deterministic=True), owner)
            claims.append(StorageDriverClaim({"sha256": digest}))
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [await self._retrieve(claim.claim_data["sha256"]) for claim in claims]

    async def _retrieve(self, digest: str) -> Payload:
        try:
            with _faults():
                return Payload.FromString(await self._blobs.get(digest))
        except NotFound:
            # Raised here it would fail the workflow's task, which is tried again for ever.
            return Payload(metadata={"encoding": MISSING}, data=digest.encode())


@contextmanager
def _faults() -> Generator[None]:
    """What is raised here the SDK writes into the history as it is, so it must not say where the store is."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        is_full = is_disk_full(error)
        _log.warning("blobs.unavailable", error="disk full" if is_full else type(error).__name__)
        raise DependencyUnavailable("database", DISK_FULL if is_full else None) from None


class _Json(PydanticJSONPlainPayloadConverter):
    def __init__(self) -> None:
        # What a definition leaves out stays out: `input: null` and no input are different things.
        super().__init__(ToJsonOptions(exclude_unset=True))

    def to_payload(self, value: Any) -> Payload | None:
        payload = super().to_payload(value)
        if payload is not None and isinstance(value, PlainText):
            payload.metadata[PLAIN] = b"1"
        return payload


class _Missing(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return MISSING.decode()

    def to_payload(self, value: Any) -> Payload | None:
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return MissingPayload(payload.data.decode())


class StudioPayloadConverter(CompositePayloadConverter):
    """Contracts as JSON through Pydantic; a value whose blob is gone is read as a `MissingPayload`."""

    def __init__(self) -> None:
        converters = DefaultPayloadConverter.default_encoding_payload_converters
        ours = (_Json() if isinstance(one, JSONPlainPayloadConverter) else one for one in converters)
        super().__init__(_Missing(), *ours)


def data_converter(keys: Sequence[SecretStr], blobs: BlobStore, on_missing: OnMissing | None = None) -> DataConverter:
    """Everything that goes to Temporal and comes back, failure messages included. Raises `SettingsError`."""
    storage = BlobStorage(blobs)
    return DataConverter(
        payload_converter_class=StudioPayloadConverter,
        payload_codec=PayloadCipher(keys, on_missing),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        external_storage=ExternalStorage(
            drivers=[storage],
            driver_selector=lambda _context, payload: storage if is_stored_apart(payload.ByteSize()) else None,
            payload_size_threshold=CROWDED_BYTES,
        ),
    )
