"""Seeded damage: flipped bits, cuts, deletions, swaps, copies, zeros; in text also whole lines and numbers.

In: bytes and a random generator. Out: other bytes, and in a few words what was done to them.
"""

import random
import re
from collections.abc import Callable

Mutation = Callable[[bytearray, random.Random], str]
_NUMBER = re.compile(rb"\d+(?:\.\d+)?")
_NUMBERS = (b"0", b"-1", b"1e999", b"99999999999999999999", b"3.5", b"NaN", b"null", b'""', b"010", b"1")


def _place(data: bytearray, chance: random.Random) -> int:
    """Anywhere, but often near an end: headers, trailers and indices lie there."""
    where = chance.random()
    if where < 0.2:
        return chance.randrange(min(len(data), 512))
    if where < 0.4:
        return len(data) - 1 - chance.randrange(min(len(data), 2048))
    return chance.randrange(len(data))


def flip(data: bytearray, chance: random.Random) -> str:
    """One to eight bits."""
    places = [_place(data, chance) for _ in range(chance.choice((1, 1, 1, 2, 8)))]
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    return f"{len(places)} bits flipped, the first in byte {places[0]}"


def overwrite(data: bytearray, chance: random.Random) -> str:
    """A few bytes with others."""
    place, length = _place(data, chance), chance.choice((1, 2, 4, 8, 16))
    kind = chance.choice(("zeros", "ones", "noise"))
    new = {"zeros": bytes(length), "ones": b"\xff" * length, "noise": chance.randbytes(length)}[kind]
    data[place : place + length] = new[: len(data) - place]
    return f"{length} bytes of {kind} at {place}"


def cut(data: bytearray, chance: random.Random) -> str:
    """The end is missing; rarely everything."""
    left = chance.choice((0, 1, chance.randrange(len(data)), chance.randrange(len(data)), len(data) - 1))
    del data[left:]
    return f"cut to {left} bytes"


def delete(data: bytearray, chance: random.Random) -> str:
    place, length = _place(data, chance), chance.choice((1, 2, 7, 64, 512, 4096))
    del data[place : place + length]
    return f"{length} bytes deleted at {place}"


def swap(data: bytearray, chance: random.Random) -> str:
    """Two stretches of one length change places."""
    length = min(chance.choice((1, 2, 8, 16, 64, 112, 512)), max(1, len(data) // 3))
    first, second = sorted((_place(data, chance), _place(data, chance)))
    second = min(max(second, first + length), len(data) - length)
    if second < first + length:
        return flip(data, chance)
    one, other = bytes(data[first : first + length]), bytes(data[second : second + length])
    data[first : first + length], data[second : second + length] = other, one
    return f"{length} bytes at {first} and {second} swapped"


def insert(data: bytearray, chance: random.Random) -> str:
    """A stretch stands twice."""
    place, length = _place(data, chance), chance.choice((1, 4, 64, 512))
    data[place:place] = data[place : place + length]
    return f"{length} bytes at {place} doubled"


def append(data: bytearray, chance: random.Random) -> str:
    data += chance.choice((b"\0", b"\n", b"x", bytes(512), bytes(10240), data[: 1 << 16]))
    return "something appended"


def lines(data: bytearray, chance: random.Random) -> str:
    """A line is dropped, doubled, or changes places with the next; of text in one line, a part between commas."""
    end = b"\n" if data.count(b"\n") > 2 else b","
    parts = bytes(data).split(end)
    place, kind = chance.randrange(len(parts)), chance.choice(("dropped", "doubled", "swapped"))
    if kind == "dropped":
        del parts[place]
    elif kind == "doubled":
        parts.insert(place, parts[place])
    else:
        other = (place + 1) % len(parts)
        parts[place], parts[other] = parts[other], parts[place]
    data[:] = end.join(parts)
    return f"part {place} {kind}"


def numbers(data: bytearray, chance: random.Random) -> str:
    """A number becomes another, or none."""
    found = list(_NUMBER.finditer(bytes(data)))
    if not found:
        return flip(data, chance)
    match, new = chance.choice(found), chance.choice(_NUMBERS)
    data[match.start() : match.end()] = new
    return f"{match[0].decode()[:20]} became {new.decode()}"


_BYTES: tuple[Mutation, ...] = (flip, flip, overwrite, cut, delete, swap, insert, append)
_TEXT: tuple[Mutation, ...] = (*_BYTES, lines, lines, numbers, numbers)


def mutated(whole: bytes, chance: random.Random, text: bool) -> tuple[bytes, str]:
    """Other bytes than `whole`, by one mutation or two, and what was done."""
    while True:
        data, done = bytearray(whole), []
        for _ in range(chance.choice((1, 1, 1, 2))):
            done.append(chance.choice(_TEXT if text else _BYTES)(data, chance) if data else append(data, chance))
        if data != whole:
            return bytes(data), "; ".join(done)
