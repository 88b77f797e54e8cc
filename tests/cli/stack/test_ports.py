import socket

from cli.stack.ports import DEFAULT_PORTS, is_free, port_table


class TestPortTable:
    def test_defaults(self) -> None:
        assert port_table(None)["mongo"] == 27017

    def test_base_counts_up_in_the_documented_order(self) -> None:
        names = ["api", "prompts", "llm", "temporal", "temporal-ui", "redis", "mongo", "model", "embeddings"]
        assert port_table(9000) == {name: 9000 + offset for offset, name in enumerate(names)}
        assert list(DEFAULT_PORTS) == names


class TestIsFree:
    def test_a_listener_on_every_interface_takes_the_port_of_loopback(self) -> None:
        with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
            port = server.getsockname()[1]
            assert not is_free("127.0.0.1", port)
        assert is_free("127.0.0.1", port)
