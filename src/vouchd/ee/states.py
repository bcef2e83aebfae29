"""The states of a connection of the EE port, and what leads from one to the next: all else is a bug of ours.

How it works. A connection is in one state; what happens to it is an event; `TRANSITIONS` tells the state that follows.
`EEConnection` acts on the event first and then moves, so a state says what is true between two calls of the loop:

    READY      between two requests, and nothing is under way or due
    PARSING    the parser has to see the next bytes: a request has begun, or the port stops
    SIGNING    a request has its place in the signing queue
    FULL       the client does not read: what was written fills its buffer
    OWING      both: a place in the queue, and a client that does not read
    LINGERING  refused and told so; the client may finish sending, unheard
    CLOSED     nothing is read or written any more

Why it is right.
- The short way (a chunk answered without the parser) is open in READY and nowhere else, and a chunk never begins in
  the middle of a request there: `_pump` is the only way back to READY, and takes it only when the parser holds nothing.
- Answers keep the order of the requests: nothing is served in SIGNING, FULL and OWING, requests wait in the reader.
- A client that does not read makes nobody work: in FULL and OWING its socket is not watched either, so that what it can
  make us keep is one write buffer and one chunk.
- A turn that comes in OWING is taken: the signature was queued before the buffer was full, and it is the last one.
- LINGERING and CLOSED lead nowhere but to the end; the transport may still report what its buffer does, which changes
  nothing. What a client does after that is dropped (RFC 9112 section 9.6).
- Each state other than LINGERING and CLOSED can be ended by the clock: READY by the idle time, PARSING by the time for
  a request, FULL by the time for a reader; SIGNING and OWING end by their turn.
"""

from __future__ import annotations

from enum import IntEnum  # hashed as an integer: the table is read for each signature


class State(IntEnum):
    """Where a connection is."""

    READY = 0
    PARSING = 1
    SIGNING = 2
    FULL = 3
    OWING = 4
    LINGERING = 5
    CLOSED = 6


class Event(IntEnum):
    """What happens to a connection."""

    REST = 0  # all is answered, and the next bytes begin a request
    WAIT = 1  # all that can be is answered, and the parser has to see the next bytes
    QUEUE = 2  # a request got a place in the signing queue
    TURN = 3  # its turn has come
    FILL = 4  # the client reads more slowly than we write
    DRAIN = 5  # it caught up
    REFUSE = 6  # it sent what ends the connection
    CLOSE = 7  # the connection ends


_END = {Event.FILL: State.CLOSED, Event.DRAIN: State.CLOSED, Event.CLOSE: State.CLOSED}

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.READY: {
        Event.REST: State.READY,
        Event.WAIT: State.PARSING,
        Event.QUEUE: State.SIGNING,
        Event.FILL: State.FULL,
        Event.REFUSE: State.LINGERING,
        Event.CLOSE: State.CLOSED,
    },
    State.PARSING: {
        Event.REST: State.READY,
        Event.WAIT: State.PARSING,
        Event.QUEUE: State.SIGNING,
        Event.FILL: State.FULL,
        Event.REFUSE: State.LINGERING,
        Event.CLOSE: State.CLOSED,
    },
    State.SIGNING: {Event.TURN: State.PARSING, Event.FILL: State.OWING, Event.CLOSE: State.CLOSED},
    State.FULL: {Event.DRAIN: State.PARSING, Event.REFUSE: State.LINGERING, Event.CLOSE: State.CLOSED},
    State.OWING: {Event.TURN: State.FULL, Event.DRAIN: State.SIGNING, Event.CLOSE: State.CLOSED},
    State.LINGERING: {Event.FILL: State.LINGERING, Event.DRAIN: State.LINGERING, Event.CLOSE: State.CLOSED},
    State.CLOSED: _END,
}
