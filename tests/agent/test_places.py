"""Strangers hold places at the agent port; those with a certificate are served all the same."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vouchd.agent.places import TOO_MANY, TOO_MANY_OF_ADDRESS, Places
from vouchd.settings.tcp_ports import AgentPort, KeyFiles


class Connection:
    """A connection that keeps whether it had to give way."""

    awaited = False

    def __init__(self, *, busy: bool = False) -> None:
        self.is_busy = busy
        self.gone = False

    def give_way(self) -> None:
        self.gone = True


def places(most: int = 8, per_address: int = 100) -> Places:
    return Places(AgentPort(KeyFiles(Path(), Path()), max_connections=most, max_per_address=per_address))


def test_places_one_address_has_a_bounded_number():
    """One stranger cannot take all places, whatever he opens; in IPv6 his network counts."""
    port = places(100, 3)
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3"):
        assert port.enter(Connection(), address) == ""
    assert port.enter(Connection(), "2001:db8::ffff") == TOO_MANY_OF_ADDRESS
    assert port.enter(Connection(), "2001:db8:0:1::1") == ""
    assert port.enter(Connection(), "192.0.2.1") == ""


def test_places_of_those_with_a_certificate_are_not_counted_by_address():
    """Many publishing CAs may stand behind one address."""
    port = places(100, 1)
    for _ in range(50):
        known = Connection()
        assert port.enter(known, "192.0.2.1") == ""
        port.identify(known)
    assert len(port) == 50


def test_places_newcomer_comes_in_however_many_strangers_hold_on():
    """The stranger who came first makes room, so that whoever has a certificate gets to show it."""
    port = places(8)
    crowd = [Connection() for _ in range(20)]
    for number, stranger in enumerate(crowd):
        assert port.enter(stranger, f"192.0.{number}.1") == ""
    assert len(port) == 6
    assert [stranger.gone for stranger in crowd] == [True] * 14 + [False] * 6
    agent = Connection()
    assert port.enter(agent, "203.0.113.1") == ""
    port.identify(agent)
    for number in range(20):
        port.enter(Connection(), f"198.51.{number}.1")
    assert not agent.gone


def test_places_share_is_kept_for_those_with_a_certificate():
    """Strangers with requests under way take three places in four at most."""
    port = places(8)
    for number in range(6):
        assert port.enter(Connection(busy=True), f"192.0.{number}.1") == ""
    assert port.enter(Connection(), "203.0.113.1") == TOO_MANY
    assert len(port) == 6


def test_places_full_of_those_with_a_certificate_refuses():
    """Nobody who has shown a certificate gives way."""
    port = places(4)
    agents = [Connection() for _ in range(4)]
    for agent in agents:
        assert port.enter(agent, "192.0.2.1") == ""
        port.identify(agent)
    assert port.enter(Connection(), "192.0.2.1") == TOO_MANY
    port.leave(agents[0])
    assert port.enter(Connection(), "192.0.2.1") == ""


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(("enter", "busy", "identify", "leave")), st.integers(0, 5)), max_size=80))
def test_places_any_coming_and_going_is_bounded_and_leaves_nothing(events):
    """Whatever comes and goes: places are bounded in number and by address, and in the end all are free."""
    port, present = places(8, 3), []
    for event, number in events:
        if event in ("enter", "busy"):
            newcomer = Connection(busy=event == "busy")
            if not port.enter(newcomer, f"192.0.2.{number}"):
                present.append(newcomer)
        elif present and event == "identify":
            port.identify(present[number % len(present)])
        elif present:
            port.leave(present.pop(number % len(present)))
        present = [one for one in present if not one.gone]
        assert set(port) == set(present)
        assert len(port) <= 8
        assert all(count <= 3 for count in port._by_address.values())
    for one in present:
        port.leave(one)
    assert not len(port)
    assert not port._by_address
