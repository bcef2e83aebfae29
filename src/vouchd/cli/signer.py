"""`vouchd signer`: the keys that sign for the CAs, at all members of the set alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.certs import as_text
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import DEFAULT_CA, CADirOption, JsonOption, read_input
from vouchd.instance.certificates.issuing import certify
from vouchd.pkix.pem import MAX_BUNDLE_BYTES
from vouchd.pkix.purposes import Purpose

app = typer.Typer(
    name="signer",
    no_args_is_help=True,
    help="The signers of the set: requested, installed, and switched to by all members at once.",
)

Shape = Mapping[str, Any]  # as the operations give it
SignerArgument = Annotated[str, typer.Argument(metavar="NICKNAME", help="As `vouchd signer list` shows it.")]
NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Of one of its keys.")]
SubjectOption = Annotated[
    str, typer.Option("--subject", metavar="NAME", help="As in RFC 4514; default: the present one's.")
]
AlgorithmOption = Annotated[
    str, typer.Option("--algorithm", metavar="NAME", help="Of the new key, such as SHA256withRSA; default: as now.")
]


@app.command("list")
@reachable
def list_(instance: Instance, json_output: JsonOption = False) -> None:
    """List the signers with their keys, and what is in the way of a new one.

    Example: vouchd signer list
    """
    signers = instance.call("signers.list")
    if json_output:
        output.as_json(signers)
        return
    rows = [_row(signer, version) for signer in signers for version in signer["versions"]]
    output.records(rows, json_output=False, empty="no signer; add one with `vouchd signer add NICKNAME`")


@app.command()
@reachable
def show(nickname: SignerArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Show one signer with its keys, and the requests that wait for a certificate.

    Example: vouchd signer show ocsp_tier2
    """
    _show(instance.call("signers.get", nickname), json_output)


@app.command()
@reachable
def add(
    nickname: SignerArgument,
    instance: Instance,
    subject: SubjectOption = "",
    algorithm: AlgorithmOption = "",
    json_output: JsonOption = False,
) -> None:
    """Add a signer: its key is made, with a request (CSR) that any CA can certify. Nobody waits for it.

    Example: vouchd signer add ocsp_tier2 --subject "CN=OCSP tier 2" --algorithm SHA256withEC
    """
    body = {"nickname": nickname} | _wishes(subject, algorithm, same_key=False)
    _requested(instance.call("signers.add", body=body), json_output)


@app.command()
@reachable
def request(
    nickname: SignerArgument,
    instance: Instance,
    subject: SubjectOption = "",
    algorithm: AlgorithmOption = "",
    same_key: Annotated[bool, typer.Option("--same-key", help="For the newest key instead of a new one.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make a new key for a signer, with a request (CSR); nothing changes until `vouchd signer install`.

    Example: vouchd signer request ocspSigningCert
    """
    body = _wishes(subject, algorithm, same_key=same_key)
    _requested(instance.call("signers.request", nickname, body=body), json_output)


@app.command()
@reachable
def install(
    nickname: SignerArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The certificate, or - for standard input.")],
    instance: Instance,
    chain: Annotated[
        str, typer.Option("--chain", metavar="FILE", help="The CAs above it, where FILE does not hold them.")
    ] = "",
    switch: Annotated[
        bool, typer.Option("--switch/--stage-only", help="Switch to it as soon as every member could sign with it.")
    ] = True,
    json_output: JsonOption = False,
) -> None:
    """Take in a signer's certificate: tried out here, staged on every member, then switched to by all at once.

    Example: vouchd signer install ocspSigningCert ocsp.pem
    """
    body: dict[str, object] = {"certificate": as_text(read_input(file, MAX_BUNDLE_BYTES)), "switch": switch}
    if chain:
        body["chain"] = as_text(read_input(chain, MAX_BUNDLE_BYTES))
    _installed(instance.call("signers.install", nickname, body=body), json_output, switch=switch)


@app.command()
@reachable
def renew(
    nickname: SignerArgument,
    instance: Instance,
    ca: CADirOption = DEFAULT_CA,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Validity; default: the profile's.")] = None,
    algorithm: AlgorithmOption = "",
    same_key: Annotated[bool, typer.Option("--same-key", help="Keep the newest key instead of a new one.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Have our own CA certify a signer anew, and the set switch to it. For another CA: `vouchd signer request`.

    Example: vouchd signer renew ocspSigningCert --ca ./ca
    """
    made = instance.call("signers.request", nickname, body=_wishes("", algorithm, same_key=same_key))
    pem = made["versions"][-1]["request"]
    body = {"certificate": as_text(certify(ca, Purpose.OCSP_SIGNING, pem.encode(), days))}
    _installed(instance.call("signers.install", nickname, body=body), json_output, switch=True)


@app.command()
@reachable
def switch(
    nickname: SignerArgument, number: NumberArgument, instance: Instance, json_output: JsonOption = False
) -> None:
    """Have the set sign with another key of a signer, forward or back, as soon as every member could.

    Example: vouchd signer switch ocspSigningCert 1
    """
    _turn(instance, "signers.switch", nickname, number, json_output)
    output.hint(_WATCH)


@app.command()
@reachable
def retire(
    nickname: SignerArgument, number: NumberArgument, instance: Instance, json_output: JsonOption = False
) -> None:
    """Have a key sign no more, for good; the one that signs stays.

    Example: vouchd signer retire ocspSigningCert 1
    """
    _turn(instance, "signers.retire", nickname, number, json_output)


def _turn(instance: Instance, operation: str, nickname: str, number: int, json_output: bool) -> None:
    """An act on one of its keys, and what that has changed."""
    done = instance.call(operation, nickname, body={"number": number})
    output.effect(nickname, done["changes"])
    _show(done, json_output)


_WATCH = "the set switches when every member could sign with it; who is in the way shows: vouchd signer list"


def _wishes(subject: str, algorithm: str, *, same_key: bool) -> dict[str, object]:
    wishes = {"subject": subject, "algorithm": algorithm}
    return {key: value for key, value in wishes.items() if value} | ({"same_key": True} if same_key else {})


def _requested(signer: Shape, json_output: bool) -> None:
    _show(signer, json_output)
    if not json_output:
        output.say(signer["versions"][-1]["request"].rstrip("\n"))
    output.hint(f"have it certified, then: vouchd signer install {signer['nickname']} FILE")


def _installed(done: Shape, json_output: bool, *, switch: bool) -> None:
    for warning in done["warnings"]:
        output.warn(f"{done['signer']['nickname']}: {warning}")
    _show(done["signer"], json_output)
    nickname = done["signer"]["nickname"]
    output.hint(_WATCH if switch else f"when it is to sign: vouchd signer switch {nickname} {done['number']}")


def _show(signer: Shape, json_output: bool) -> None:
    if json_output:
        output.as_json(signer)
        return
    output.fields({"signer": signer["nickname"], "CAs": ", ".join(signer["authorities"]) or None})
    output.say("")
    output.records([_row(signer, version) for version in signer["versions"]], json_output=False)


def _row(signer: Shape, version: Shape) -> dict[str, object]:
    certificate = version["certificate"] or {}
    ways = "; ".join(f"{one['member'] or 'this instance'}: {one['why']}" for one in version["in_the_way"])
    return {
        "signer": signer["nickname"],
        "number": version["number"],
        "state": version["state"] + (", to be switched to" if version["wanted"] else ""),
        "algorithm": version["algorithm"],
        "key": version["key"],
        "not_after": certificate.get("not_after"),
        "CAs": ", ".join(signer["authorities"]) or None,
        "in_the_way": ways or version["warning"] or None,
    }
