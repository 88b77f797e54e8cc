"""`STUDIO_BLOB_URL`: where payloads too large for a history are kept, when that is not SQL."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_FORM = "s3://BUCKET[/PREFIX][?endpoint=https://HOST&region=REGION]"


@dataclass(frozen=True)
class BlobUrl:
    bucket: str
    prefix: str | None
    endpoint: str | None
    """None: AWS."""
    region: str | None
    """None: what `AWS_REGION` says, else us-east-1."""


def parse_blob_url(url: str) -> BlobUrl:
    """Raises `ValueError`; its text holds nothing of the URL."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(f"must have the form {_FORM}")
    if "@" in parts.netloc:
        raise ValueError("must hold no credentials; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options.keys() - {"endpoint", "region"} or parts.fragment or "" in options.values():
        raise ValueError(f"knows the parameters endpoint and region only, and has the form {_FORM}")
    endpoint = options.get("endpoint")
    if endpoint is not None:
        where = urlsplit(endpoint)
        if where.scheme not in {"http", "https"} or not where.hostname or "@" in where.netloc:
            raise ValueError("must name its endpoint as https://HOST[:PORT] or http://HOST[:PORT]")
    return BlobUrl(parts.netloc, parts.path.strip("/") or None, endpoint, options.get("region"))
