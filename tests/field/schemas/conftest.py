from tests.api.conftest import database_url, idle, lite

__all__ = ["database_url", "idle", "lite"]
