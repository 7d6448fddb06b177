from random import Random

from chatserver.salts import Salts
from storage.chain import SALT_BYTES


def test_every_salt_is_used_once_and_none_is_left_out() -> None:
    source, same = Random(1), Random(1)
    asked: list[int] = []

    def draw(size: int) -> bytes:
        asked.append(size)
        return source.randbytes(size)

    salts = Salts(draw)
    taken = [salts() for _ in range(1000)]
    drawn = b"".join(same.randbytes(size) for size in asked)
    assert b"".join(taken) == drawn[: 1000 * SALT_BYTES]
    assert len(set(taken)) == 1000
    assert len(asked) < 10


def test_the_systems_random_bytes_are_the_source() -> None:
    assert len({Salts()() for _ in range(20)}) == 20
    assert len(Salts()()) == SALT_BYTES
