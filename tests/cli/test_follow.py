import pytest

from cli.follow import ConnectionLost, follow
from studio.clients.api import ApiClient
from studio.errors import DependencyUnavailable
from tests.support.ports import free_port


class TestFollow:
    async def test_gives_up_when_nobody_answers(self) -> None:
        async with ApiClient(f"http://127.0.0.1:{free_port()}") as api:
            news = follow(api, "run_1", give_up_seconds=0.2)
            assert isinstance(await anext(news), ConnectionLost)
            with pytest.raises(DependencyUnavailable):
                await anext(news)
