"""`vouchd clone verify`: do all members of the set list the same CRLs and give the same answers?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from vouchd import wiring
from vouchd.cli import output
from vouchd.cli.cloneprobes import MAX_SAMPLE, probes
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.client.comparison import Comparison, Level, Probe, compare_answers
from vouchd.client.domain import PeerClient
from vouchd.client.transport import Connection
from vouchd.core.facts import Epoch, Member
from vouchd.core.status import ServingState
from vouchd.errors import ConfigError, NotFound, VouchdError
from vouchd.index.manifest import load_manifest
from vouchd.instance.layout import Layout
from vouchd.ops.clock import SystemClock
from vouchd.ops.verification import Verification, VerifiedMember, write_verification

Connect = Callable[[Member], PeerClient]

_TOLD = 20  # differences shown of one member
_PAUSE_SECONDS = 0.2
DIFFERENT = 4  # exit code: a difference, or a member that did not answer


def verify(
    instance: InstanceOption = DEFAULT_INSTANCE,
    sample: Annotated[
        int, typer.Option("--sample", min=0, max=MAX_SAMPLE, help="Certificates of each kind and CA to ask about.")
    ] = 5,
    serial: Annotated[
        list[str] | None, typer.Option("--serial", metavar="HEX", help="Ask about this one too; repeatable.")
    ] = None,
    watch: Annotated[
        float, typer.Option("--watch", min=0, metavar="SECONDS", help="Again and again; tells changes only.")
    ] = 0,
    settle: Annotated[
        float, typer.Option("--settle", min=0, metavar="SECONDS", help="Wait so long for a change to reach all.")
    ] = 0,
    json_output: JsonOption = False,
) -> None:
    """Compare this instance with all other members: lists of CAs and CRLs, and OCSP answers byte for byte.

    Good, revoked, held and unknown certificates, by GET and POST, without a nonce and with one. Ends with 4 when there
    is any difference or a member does not answer.

    Example: vouchd clone verify --sample 100
    """
    layout = Layout(instance.absolute())
    chosen = [_serial(text) for text in serial or ()]
    before: tuple[VerifiedMember, ...] | None = None
    while True:
        found = _settled(layout, sample, chosen, settle)
        write_verification(layout.verification, found)
        if before is None or _essence(before) != _essence(found.members):
            output.records([_row(member) for member in found.members], json_output=json_output, empty="no other member")
            for member in found.members:
                for problem in member.problems:
                    output.warn(f"{member.id}: {problem}")
        before = found.members
        if not found.members and not watch:
            raise NotFound("there is no other member to compare with", hint="vouchd domain members shows the set")
        if not watch:
            break
        time.sleep(watch)
    if not all(member.identical for member in found.members):
        raise typer.Exit(DIFFERENT)


def _settled(layout: Layout, sample: int, chosen: Sequence[bytes], seconds: float) -> Verification:
    """The comparison, again for some seconds while there is a difference."""
    until = time.monotonic() + seconds
    while True:
        found = _verified(layout, sample, chosen)
        if all(member.identical for member in found.members) or time.monotonic() >= until:
            return found
        time.sleep(_PAUSE_SECONDS)


def _verified(layout: Layout, sample: int, chosen: Sequence[bytes]) -> Verification:
    state = load_manifest(layout.index)
    with wiring.services(layout) as services:
        me = services.membership.require_me()
        others = [member for member in services.store.members() if member.id != me.id]
        connect = wiring.connector(layout, services.settings)
        asked = tuple(probes(state, sample, chosen))
        members = tuple(_member(state, me, other, asked, connect) for other in others)
    return Verification(SystemClock().now(), members)


def _member(state: ServingState, me: Member, other: Member, asked: Sequence[Probe], connect: Connect) -> VerifiedMember:
    try:
        problems = _list_differences(state, connect(other).epochs().epochs)
        with Connection(_url(me)) as ours, Connection(_url(other)) as theirs:
            at = SystemClock().now()
            compared = [compare_answers(probe, ours, theirs, at) for probe in asked]
    except VouchdError as error:
        return VerifiedMember(other.id, reachable=False, problems=(str(error),))
    return VerifiedMember(
        id=other.id,
        reachable=True,
        lists=tuple(problems),
        asked=len(compared),
        plain=sum(one.wanted is Level.BYTES for one in compared),
        bytes=sum(one.alike is Level.BYTES for one in compared),
        response_data=sum(one.alike >= Level.RESPONSE_DATA for one in compared),
        status=sum(one.alike >= Level.STATUS for one in compared),
        problems=(*problems, *_told(compared)),
    )


def _list_differences(state: ServingState, theirs: Sequence[Epoch]) -> list[str]:
    """What is different in List Certificate Authorities, one line each."""
    labels = {served.authority.id: served.authority.label for served in state.authorities}
    ours = {point.epoch.issuing_point: point.epoch for served in state.authorities for point in served.points}
    others = {epoch.issuing_point: epoch for epoch in theirs}
    problems = []
    for point in sorted(ours.keys() | others.keys()):
        one, other = ours.get(point), others.get(point)
        label = labels.get(point.authority_id, point.authority_id[:16])
        if one is None or other is None:
            problems.append(f"the CRL of {label} is {'here' if other is None else 'there'} only")
        elif (one.index_name, one.accepted_at) != (other.index_name, other.accepted_at):
            problems.append(
                f"the CRL of {label} is number {one.newest.crl_number} here, {other.newest.crl_number} there"
            )
    return problems


def _told(compared: Sequence[Comparison]) -> list[str]:
    different = [one for one in compared if not one.identical]
    return [
        f"{one.probe.about}: {worst.field} is {worst.ours} here, {worst.theirs} there"
        for one in different[:_TOLD]
        for worst in one.differences[:1]
    ]


def _row(member: VerifiedMember) -> dict[str, object]:
    return {
        "member": member.id,
        "state": "identical" if member.identical else "different" if member.reachable else "no answer",
        "lists": "equal" if not member.lists else "different",
        "asked": member.asked,
        "bytes": f"{member.bytes} of {member.plain}",
        "ResponseData": member.response_data,
        "status": member.status,
    }


def _essence(members: Sequence[VerifiedMember]) -> list[tuple[str, bool, bool, tuple[str, ...]]]:
    return [(member.id, member.identical, member.reachable, member.lists) for member in members]


def _url(member: Member) -> str:
    return f"http://{member.host}:{member.ee_port}/"


def _serial(text: str) -> bytes:
    try:
        number = int(text.removeprefix("0x"), 16)
    except ValueError as error:
        raise ConfigError(f"{text[:60]!r} is not a serial number in hexadecimal") from error
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
