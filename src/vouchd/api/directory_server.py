"""The directory server of the instance: facts moved there, and what another program has written there taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from vouchd.api.crls import take_crl
from vouchd.api.model import AuthorityId, Count, Label, Refusal, about
from vouchd.api.operation import Call, Operation, Waiting
from vouchd.cloning.directory_account import bound_by
from vouchd.core.facts import Epoch
from vouchd.service.permission import Action

URL = Annotated[str, Meta(max_length=500, examples=["ldaps://ldap1.example.org:636/dc=ocsp,dc=example,dc=org"])]
DN = Annotated[str, Meta(max_length=500, examples=["cn=Directory Manager"])]
Secret = Annotated[str, Meta(max_length=1000, examples=["correct horse battery staple"])]
TrustFile = Annotated[
    str,
    Meta(max_length=500),
    about("A file on the instance's host with the CAs of that server, PEM; empty: those of the host.", "/etc/ca.pem"),
]


class DirectoryToUse(Struct, frozen=True, forbid_unknown_fields=True):
    """A directory server for the facts of the instance."""

    url: Annotated[URL, about("The server and the suffix.")]
    manager: Annotated[DN, about("Who may configure it.")]
    password: Annotated[Secret, about("The manager's password, which is used once and not kept.")]
    starttls: Annotated[bool, about("StartTLS on the plain port.")] = False
    trust_file: TrustFile = ""
    client_certificate: Annotated[
        str,
        Meta(max_length=64),
        about("The system certificate that the instance binds with; empty: it binds with a password.", "subsystem"),
    ] = ""
    domain: Annotated[
        str,
        Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
        about("The name of the security domain.", "Example Security Domain"),
    ] = "vouchd"


class DirectoryInUse(Struct, frozen=True):
    """The move of an instance to a directory server."""

    instance: Annotated[str, about("The instance's folder, on its host.", "/srv/vouchd")]
    directory: Annotated[str, about("The server.", "ldap1.example.org:636")]
    copied: Annotated[Count, about("How many facts were copied there.", 12)]
    notes: Annotated[list[str], about("What was done.", ["directory: schema"])]
    pending_restart: Annotated[bool, about("Whether the instance goes by it from its next restart on.")]


class DirectoryToRead(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a Certificate System OCSP has written its CAs and CRLs."""

    url: Annotated[URL, about("Another directory, which is only read; empty: the instance's own.")] = ""
    starttls: Annotated[bool, about("StartTLS on the plain port of that directory.")] = False
    trust_file: TrustFile = ""
    bind: Annotated[DN, about("Who reads there.")] = ""
    password: Annotated[Secret, about("The password of who reads there.")] = ""
    trusted_responder: Annotated[
        list[Annotated[str, Meta(max_length=2000)]],
        Meta(max_length=1000),
        about("Subjects of CAs that need not have issued the signer: their clients are set to trust it.", ["CN=Root"]),
    ] = []


class AdoptedAuthority(Struct, frozen=True):
    """An entry that was taken over."""

    authority: Annotated[AuthorityId, about("The id of the CA.")]
    label: Annotated[Label, about("What the CA is called.")]
    changes: Annotated[list[str], about("What was changed of the CA; none: it was just so.", ["the CA was added"])]
    crls: Annotated[Count, about("How many CRLs the entry has.", 2)]
    taken: Annotated[Count, about("How many of them were new.", 1)]
    entry: Annotated[str, about("The DN of the entry.", "cn=Example Root,o=pki-tomcat-OCSP")]
    doubts: Annotated[list[str], about("What is doubtful about its signer, and allowed.", ["a trusted responder"])]


class Adoption(Struct, frozen=True):
    """What was taken over."""

    suffix: Annotated[str, about("Below which it was looked for.", "o=pki-tomcat-OCSP")]
    adopted: Annotated[list[AdoptedAuthority], about("The entries that were taken over.")]
    failures: Annotated[list[Refusal], about("Those that were refused, by the DN of the entry.")]
    served: Annotated[bool, about("Whether every worker answers from what was new.")]


def _use(call: Call) -> DirectoryInUse:
    # Here and below, because they bring an LDAP library along, which the embedded store starts without.
    from vouchd.cloning.directory_move import NewDirectory  # noqa: PLC0415
    from vouchd.directory.connection import server_of  # noqa: PLC0415
    from vouchd.settings.declared import DirectorySettings  # noqa: PLC0415

    wanted: DirectoryToUse = call.body
    services, notes = call.services, list[str]()
    services.permission.allow(call.caller, Action.CHANGE_CONFIGURATION, "directory server")
    server = server_of(wanted.url, start_tls=wanted.starttls, replica_id=1)
    named = bound_by(DirectorySettings(server, "", _path(wanted.trust_file)), wanted.client_certificate)
    target = NewDirectory(named, wanted.manager, wanted.password, wanted.domain)
    copied = target.take(services, services.open_store, notes.append)
    return DirectoryInUse(
        instance=str(services.layout.root),
        directory=f"{server.host}:{server.port}",
        copied=copied,
        notes=notes,
        pending_restart=True,
    )


def _adopt(call: Call) -> Adoption:
    from vouchd.cloning.adoption import OtherDirectory, adopt  # noqa: PLC0415
    from vouchd.directory.connection import server_of  # noqa: PLC0415

    wanted: DirectoryToRead = call.body
    services = call.services

    def take(crl: bytes, origin: str) -> tuple[Epoch, ...]:
        return take_crl(services, crl, origin, call.caller)

    other = None
    if wanted.url:
        server = server_of(wanted.url, start_tls=wanted.starttls)
        other = OtherDirectory(server, wanted.bind, wanted.password, _path(wanted.trust_file))
    done = adopt(services, other, take, call.caller, wanted.trusted_responder)
    return Adoption(
        suffix=done.suffix,
        adopted=[
            AdoptedAuthority(
                authority=one.authority.id,
                label=one.authority.label,
                changes=list(one.changes),
                crls=one.crls,
                taken=one.taken,
                entry=one.dn,
                doubts=list(one.doubts),
            )
            for one in done.adopted
        ],
        failures=[Refusal.of(type(error)(f"{dn}: {error}", hint=error.hint)) for dn, error in done.failures],
        served=call.settle(done.epochs),
    )


def _path(name: str) -> Path | None:
    return Path(name) if name else None


OPERATIONS = (
    Operation(
        "POST",
        "/directory",
        "directory_server.use",
        "Move the facts of the instance to a directory server, which is prepared; it goes by it after its next restart",
        Action.CHANGE_CONFIGURATION,
        _use,
        DirectoryInUse,
        body=DirectoryToUse,
        refusals={409: "The server keeps the facts of an instance already."},
    ),
    Operation(
        "POST",
        "/directory/adopt",
        "directory_server.adopt",
        "Take over the CAs and CRLs that a Certificate System OCSP keeps in a directory; every CRL is verified",
        Action.ADD_AUTHORITY,
        _adopt,
        Adoption,
        body=DirectoryToRead,
        query=Waiting,
        refusals={404: "There is no such suffix."},
    ),
)
