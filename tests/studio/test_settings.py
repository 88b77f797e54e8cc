"""What settings are refused."""

from pathlib import Path
from typing import Any

import pytest

from cli.stack.settings import StackSettings
from studio.blob_url import BlobUrl, parse_blob_url
from studio.errors import SettingsError
from studio.settings import TemporalSettings, load_settings
from tests.support.services import SECRET_KEY


class TestTemporalTls:
    @pytest.mark.parametrize("given", ["temporal_tls_cert", "temporal_tls_key"])
    def test_one_without_the_other_is_refused(self, given: str) -> None:
        values: dict[str, Any] = {"temporal_address": "t:1", given: Path("file.pem")}
        secrets: dict[str, Any] = {"secret_keys": [SECRET_KEY]}
        for settings, more in ((TemporalSettings, secrets), (StackSettings, {})):
            with pytest.raises(SettingsError) as refused:
                load_settings(settings, **values, **more)
            assert "STUDIO_TEMPORAL_TLS_CERT" in refused.value.detail
            assert "STUDIO_TEMPORAL_TLS_KEY" in refused.value.detail
            assert SECRET_KEY.get_secret_value() not in refused.value.detail


class TestBlobUrl:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("https://bucket.example", "must have the form s3://BUCKET"),
            ("s3:///prefix", "must have the form s3://BUCKET"),
            ("s3://a-key:a-hidden-one@bucket", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket?secret=a-hidden-one", "endpoint and region only"),
            ("s3://bucket?region=", "endpoint and region only"),
            ("s3://bucket?endpoint=minio:9000", "https://HOST"),
            ("s3://bucket?endpoint=https://a-key:a-hidden-one@minio", "https://HOST"),
        ],
    )
    def test_a_wrong_one_is_refused_without_being_shown(self, url: str, says: str) -> None:
        values: dict[str, Any] = {"temporal_address": "t:1", "blob_url": url}
        secrets: dict[str, Any] = {"secret_keys": [SECRET_KEY]}
        for settings, more in ((TemporalSettings, secrets), (StackSettings, {})):
            with pytest.raises(SettingsError, match="STUDIO_BLOB_URL") as refused:
                load_settings(settings, **values, **more)
            assert says in refused.value.detail
            assert "hidden" not in refused.value.detail

    def test_says_where(self) -> None:
        url = "s3://bucket/a/b/?endpoint=http://127.0.0.1:9000&region=eu-west-1"
        assert parse_blob_url(url) == BlobUrl("bucket", "a/b", "http://127.0.0.1:9000", "eu-west-1")
        assert parse_blob_url("s3://bucket") == BlobUrl("bucket", None, None, None)


class TestWorkerVersion:
    @pytest.mark.parametrize("given", ["worker_deployment", "worker_build_id"])
    def test_one_without_the_other_is_refused(self, given: str) -> None:
        values: dict[str, Any] = {given: "one"}
        with pytest.raises(SettingsError) as refused:
            load_settings(StackSettings, **values)
        assert "STUDIO_WORKER_DEPLOYMENT" in refused.value.detail
        assert "STUDIO_WORKER_BUILD_ID" in refused.value.detail
