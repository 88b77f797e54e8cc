from tests.api.conftest import lite

__all__ = ["lite"]
