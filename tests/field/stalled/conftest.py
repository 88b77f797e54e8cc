from tests.api.conftest import idle

__all__ = ["idle"]
