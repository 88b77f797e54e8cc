import aiohttp


class TestOpenApi:
    async def test_shows_the_endpoints(self, engine: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(f"{engine}/openapi.json") as answer:
            document = await answer.json()
        for prefix in ("/v1", "/api/v1"):
            for path in ("/chat/completions", "/completions", "/embeddings"):
                body = document["paths"][prefix + path]["post"]["requestBody"]["content"]["application/json"]
                assert body["schema"]
        assert {"/v1/models", "/v1/models/{model}", "/api/v1/upstreams", "/health/ready"} <= document["paths"].keys()
        assert "Message" in document["components"]["schemas"]
