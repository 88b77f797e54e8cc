"""Payloads as they travel to Temporal: compressed, encrypted, and kept apart when they are large."""

import base64
import binascii
import hashlib
import hmac
import os
import zlib
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, ToJsonOptions
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    ExternalStorage,
    JSONPlainPayloadConverter,
    PayloadCodec,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from studio.contracts.plain import PlainText
from studio.errors import SettingsError
from studio.store.blobs import BlobStore

EXTERNAL_BYTES = 64 * 1024
"""A larger payload is stored apart, so that histories stay small."""
DICTIONARY = (
    b'{"status":"succeeded","output":null,"error":{"type":"upstream_error","message":"","step_id":""}"cost_usd":"0.'
    b'"progress":{"steps":[{"id":"","kind":"transform","name":"","agent":""}]"retry":{"max_attempts":"non_retryable":'
    b'{"workflow":{"kind":"workflow","name":"","description":"","input_schema":{"type":"object","required":["properties":'
    b'"pattern":"sequential","steps":[{"id":"","when":"${{ steps.","agent":"","input":"${{ input.","timeout":"'
    b'transform":'
    b'"agents":{"version":1,"spec":{"model":"default","params":{"temperature":0.,"max_tokens":"instructions":"You '
    b'{"context":{"run_id":"run_01","project_id":"default","workflow_name":"","root_span_id":"","metadata":{}}'
    b'{"length":1,"text":"","finish_reason":"stop","attempt":1,"usage":{"prompt_tokens":0,"completion_tokens":0,'
    b'"total_tokens":0,"llm_calls":1,"tool_calls":0},"cost_usd":null}'
    b'{"step":{"run":{"run_id":"run_01","project_id":"default","workflow_name":"","workflow_version":1,"trace_id":"",'
    b'"session_id":null,"user_id":null},"path":"","agent":"","span_id":"","conversation_id":"run_01","events":['
    b'{"ts":"2026-01-01T00:00:00.000000Z","attempt":1,"type":"run.started","data":{"status":"running"}},'
    b'{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,"type":"step.succeeded","data":{"kind":"agent",'
    b'"duration_ms":1,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":1,"llm_calls":1,"tool_calls":0},'
    b'"cost_usd":"0.00","output":""}},{"ts":"2026-01-01T00:00:00.000000Z","step_id":"","attempt":1,"type":"step.started",'
    b'"data":{"kind":"agent","agent":"","input":{}}}]},"length":1,"opening":{"instructions":null,"message":null,"input":}'
    b',"prompt":"","model":"default","params":{}}\x12\n\n\x16\n\x08encoding\x12\njson/plain\x12'
)
"""Preset dictionary for zlib (RFC 1950): what our payloads are mostly made of, the commonest last. It can never change,
since histories were written with it; a better one gets a flag of its own.
"""
NONCE_BYTES = 12
ENCODING = b"binary/encrypted"
PLAIN = "studio-plain"
_AS_IT_IS, _COMPRESSED = b"\x00", b"\x01"
_READABLE_MESSAGES = (b"temporal.api.sdk.v1.WorkflowMetadata",)
"""What the Temporal UI asks for progress with; holds step names and states."""


class PayloadCipher(PayloadCodec):
    """AES-256-GCM over the compressed payload (NIST SP 800-38D), a random nonce in front.

    The first key encrypts, all decrypt. Payloads that will be stored apart get a nonce derived from their content, so
    that equal ones stay equal and ten thousand runs share one stored definition.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        if not keys:
            raise SettingsError("STUDIO_SECRET_KEYS is empty. Give at least one base64 key of 32 bytes.")
        raw = [_read_key(key) for key in keys]
        self._ciphers = {_key_id(key): AESGCM(key) for key in raw}
        self._newest = _key_id(raw[0])
        self._nonce_key = hashlib.sha256(b"studio payload nonce" + raw[0]).digest()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encode(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decode(payload) for payload in payloads]

    def _encode(self, payload: Payload) -> Payload:
        if PLAIN in payload.metadata or payload.metadata.get("messageType") in _READABLE_MESSAGES:
            return payload
        body = payload.SerializeToString(deterministic=True)
        packed = _compress(body)
        plain = _COMPRESSED + packed if len(packed) < len(body) else _AS_IT_IS + body
        if len(plain) >= EXTERNAL_BYTES:
            nonce = hmac.digest(self._nonce_key, plain, "sha256")[:NONCE_BYTES]
        else:
            nonce = os.urandom(NONCE_BYTES)
        data = nonce + self._ciphers[self._newest].encrypt(nonce, plain, None)
        return Payload(metadata={"encoding": ENCODING, "key-id": self._newest.encode()}, data=data)

    def _decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata["key-id"].decode()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise ValueError(f"a payload was encrypted with key {key_id!r}, which STUDIO_SECRET_KEYS does not hold")
        try:
            plain = cipher.decrypt(payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:], None)
        except InvalidTag:
            raise ValueError("a payload was changed after it was encrypted") from None
        return Payload.FromString(_decompress(plain[1:]) if plain[:1] == _COMPRESSED else plain[1:])


def _compress(body: bytes) -> bytes:
    compressor = zlib.compressobj(level=4, zdict=DICTIONARY)
    return compressor.compress(body) + compressor.flush()


def _decompress(packed: bytes) -> bytes:
    decompressor = zlib.decompressobj(zdict=DICTIONARY)
    return decompressor.decompress(packed) + decompressor.flush()


def _read_key(key: SecretStr) -> bytes:
    try:
        raw = base64.b64decode(key.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise SettingsError("STUDIO_SECRET_KEYS holds a key that is not base64 of 32 bytes (openssl rand -base64 32).")
    return raw


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"studio key id" + key).hexdigest()[:8]


class BlobStorage(StorageDriver):
    """The SDK's external storage over our blob store. A claim is the SHA-256 of the stored (encrypted) payload."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def name(self) -> str:
        return "studio"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        claims: list[StorageDriverClaim] = []
        for payload in payloads:
            digest = await self._blobs.put(payload.SerializeToString(deterministic=True))
            claims.append(StorageDriverClaim({"sha256": digest}))
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [Payload.FromString(await self._blobs.get(claim.claim_data["sha256"])) for claim in claims]


class _Json(PydanticJSONPlainPayloadConverter):
    def __init__(self) -> None:
        # What a definition leaves out stays out: `input: null` and no input are different things.
        super().__init__(ToJsonOptions(exclude_unset=True))

    def to_payload(self, value: Any) -> Payload | None:
        payload = super().to_payload(value)
        if payload is not None and isinstance(value, PlainText):
            payload.metadata[PLAIN] = b"1"
        return payload


class StudioPayloadConverter(CompositePayloadConverter):
    """Contracts as JSON through Pydantic."""

    def __init__(self) -> None:
        converters = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_Json() if isinstance(one, JSONPlainPayloadConverter) else one for one in converters))


def data_converter(keys: Sequence[SecretStr], blobs: BlobStore) -> DataConverter:
    """Everything that goes to Temporal and comes back, failure messages included. Raises `SettingsError`."""
    return DataConverter(
        payload_converter_class=StudioPayloadConverter,
        payload_codec=PayloadCipher(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        external_storage=ExternalStorage(drivers=[BlobStorage(blobs)], payload_size_threshold=EXTERNAL_BYTES),
    )
