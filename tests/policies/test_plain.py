import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import BadRequest
from policies.plain import DEEPEST, LARGEST_INT, require_plain

keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST_INT, LARGEST_INT) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)


@given(plain)
def test_what_json_reads_alike_everywhere_is_plain(value: Any) -> None:
    require_plain(value)
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        LARGEST_INT + 1,
        -LARGEST_INT - 1,
        b"bytes",
        {1: "a"},
        {"a\0b": 1},
        {"list": [{"deep": 0.1}]},
        object(),
        {"set": {1}},
    ],
)
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest):
        require_plain(value)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_nesting_is_bounded() -> None:
    require_plain(nested(DEEPEST))
    with pytest.raises(BadRequest):
        require_plain(nested(DEEPEST + 1))


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(BadRequest) as refused:
        require_plain({"card": 4111_1111.1111})
    assert "4111" not in refused.value.message
