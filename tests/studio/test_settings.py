"""What settings are refused."""

from pathlib import Path
from typing import Any

import pytest

from cli.stack.settings import StackSettings
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


class TestWorkerVersion:
    @pytest.mark.parametrize("given", ["worker_deployment", "worker_build_id"])
    def test_one_without_the_other_is_refused(self, given: str) -> None:
        values: dict[str, Any] = {given: "one"}
        with pytest.raises(SettingsError) as refused:
            load_settings(StackSettings, **values)
        assert "STUDIO_WORKER_DEPLOYMENT" in refused.value.detail
        assert "STUDIO_WORKER_BUILD_ID" in refused.value.detail
