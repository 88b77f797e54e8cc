import pytest

from studio.contracts.runs import block_of, is_inside


@pytest.mark.parametrize(
    ("path", "block"),
    [
        ("plan", ""),
        ("research/answer[2]", "research"),
        ("refine#3/critic", "refine"),
        ("outer#1/map/inner[1]#2/n", "outer#1/map/inner[1]"),
    ],
)
def test_the_block_around_a_step(path: str, block: str) -> None:
    assert block_of(path) == block
    assert not block or is_inside(path, block)


@pytest.mark.parametrize(("path", "other"), [("plan", "plan"), ("planner/a", "plan"), ("map/one[10]", "map/one[1]")])
def test_a_step_is_not_inside_one_whose_path_only_begins_alike(path: str, other: str) -> None:
    assert not is_inside(path, other)
