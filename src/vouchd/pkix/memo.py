"""What a function said of octets is remembered: a start asks the same of each of ten thousand certificates many times.

A dictionary, where `functools.lru_cache` takes 160 octets more for each entry; so all is dropped at once when there are
too many, which is back with the next question of each. Once a start is over (`settle`), and in a worker from its begin,
little is remembered: what is asked then is of one CA, several times in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
S = TypeVar("S")
V = TypeVar("V")

_LITTLE = 1 << 10
_MOST_TEXTS = 1 << 16


class _Memory(dict[Any, Any]):
    """Results by their arguments, at most so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most


_memories: dict[Callable[..., Any], _Memory] = {}  # by the functions that they are of
_at_hand: dict[Callable[..., Any], _Memory] = {}  # likewise
_texts = _Memory(_MOST_TEXTS)


class _OfOne(_Memory):
    """Those of a function of one argument: who asks asks the dictionary, which takes a quarter of a call."""

    def __init__(self, most: int, function: Callable[[Any], Any]) -> None:
        super().__init__(most)
        self._function = function

    def __missing__(self, subject: Any) -> Any:
        value = self._function(subject)
        _keep(self, subject, value)
        return value


def memo(most: int) -> Callable[[Callable[P, V]], Callable[P, V]]:
    """A pure function with the results of at most so many arguments at hand; one argument alone has no name."""

    def remembering(function: Callable[P, V]) -> Callable[P, V]:
        code = function.__code__
        if code.co_argcount + code.co_kwonlyargcount == 1:
            of_one = _OfOne(most, cast("Callable[[Any], Any]", function))
            look_up = cast("Callable[P, V]", of_one.__getitem__)
            _memories[look_up] = of_one
            return look_up
        known = _Memory(most)

        @wraps(function)
        def remembered(*args: P.args, **kwargs: P.kwargs) -> V:
            subject = (*args, *kwargs.values())
            try:
                return known[subject]  # type: ignore[no-any-return]
            except KeyError:
                pass
            value = function(*args, **kwargs)
            _keep(known, subject, value)
            return value

        _memories[remembered] = known
        return remembered

    return remembering


def at_hand(most: int) -> Callable[[Callable[[S], V]], Callable[[S], V]]:
    """A pure function with what it said of the last objects, at most so many: they are told apart by their identity.

    For objects of which several things are wanted one after the other, and that take long to be compared or hashed.
    """

    def remembering(function: Callable[[S], V]) -> Callable[[S], V]:
        known = _Memory(most)

        @wraps(function)
        def remembered(subject: S) -> V:
            pair = known.get(id(subject))
            if pair is None:  # with the object, so that none other is where it was
                pair = subject, function(subject)
                _keep(known, id(subject), pair)
            return pair[1]

        _at_hand[remembered] = known
        return remembered

    return remembering


def remember(function: Callable[P, V], value: V, *args: P.args, **kwargs: P.kwargs) -> None:
    """Take that for what a function with a `memo` says of these arguments, which another process has worked out."""
    known = _memories[function]
    _keep(known, args[0] if isinstance(known, _OfOne) else (*args, *kwargs.values()), value)


def put_at_hand(function: Callable[[S], V], value: V, subject: S) -> None:
    """Take that for what a function with results `at_hand` says of an object."""
    _keep(_at_hand[function], id(subject), (subject, value))


def settle() -> None:
    """Forget what was remembered for a start, and remember little from now on."""
    for known in _memories.values():
        known.clear()
        known.most = min(known.most, _LITTLE)


def shared(text: str) -> str:
    """One object for a text that stands in the facts again and again, of ten thousand CAs each."""
    known = _texts.get(text)
    if known is None:
        _keep(_texts, text, text)
    return known or text


def _keep(known: _Memory, subject: Any, value: Any) -> None:
    if len(known) >= known.most:
        known.clear()
    known[subject] = value
