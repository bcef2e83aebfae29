"""The keys that sign answers: where each is, on which token, and how its certificate is renewed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vouchd.settings.keys import KnownKey, key
from vouchd.settings.kinds import (
    FILE,
    FLAG,
    HARDWARE,
    INTERNAL_TOKENS,
    TEXT,
    TOKEN,
    integer,
    word,
)

DEFAULT_ALGORITHM = KnownKey(
    "ocsp.signing.defaultSigningAlgorithm",
    TEXT,
    "",
    "Algorithm of the default signer; empty: the key's usual one.",
    shared=True,
)


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How a process signs with keys on tokens (PKCS #11)."""

    name: str = key(
        "ocsp.signing.tokenname",
        TOKEN,
        "internal",
        "Where the default signer's key is: in a file, or on the token of that label.",
        shared=True,
    )
    sessions: int = key(
        "vouchd.token.sessions", integer(1, 64), 2, "Sessions of each process with a token, each a process of its own."
    )
    deadline_ms: int = key(
        "vouchd.token.deadlineInMs",
        integer(10, 60000),
        2000,
        "A token that has not signed by then is left: the answer is tryLater.",
        unit="milliseconds",
    )

    @property
    def label(self) -> str:
        """The label of the default signer's token; empty: its key is a file."""
        return "" if self.name in INTERNAL_TOKENS else self.name.removeprefix(HARDWARE)


@dataclass(frozen=True, slots=True)
class SignerSettings:
    """One key that signs responses."""

    nickname: str
    key_file: Path = key(
        "vouchd.signer.<nickname>.key",
        FILE,
        "",
        "Encrypted PKCS #8 key (PEM, 0600), its password `internal` in password.conf; or where it is on a token.",
        required="FILE",
    )
    certificate_file: Path = key(
        "vouchd.signer.<nickname>.certificate", FILE, "", "The signer's certificate (PEM).", required="FILE"
    )
    chain_file: Path | None = key(
        "vouchd.signer.<nickname>.chain", FILE, "", "Certificates sent along between signer and CA (PEM)."
    )
    algorithm: str = key(
        "vouchd.signer.<nickname>.algorithm",
        TEXT,
        "",
        "Signature algorithm, as SHA256withRSA; empty: the key's usual one.",
        shared=True,
    )


class EnrolmentWay(StrEnum):
    """Who certifies the next key."""

    NOBODY = "nobody"  # an administrator has it certified
    CA = "ca"  # our own CA, in a folder of this host
    EST = "est"  # a CA that speaks EST (RFC 7030)
    CERTSYSTEM = "certsystem"  # a CA of Dogtag or Red Hat Certificate System, by its REST
    EXEC = "exec"  # a command of the site


@dataclass(frozen=True, slots=True)
class RenewalSettings:
    """How a certificate is renewed by itself: a signer by the member that keeps the facts, its own by each member."""

    nickname: str
    way: EnrolmentWay = key(
        "vouchd.renewal.<nickname>.by",
        word(EnrolmentWay),
        EnrolmentWay.NOBODY,
        "Who certifies the next key of that signer, or of `sslserver`, `subsystem` or `audit_signing`: our own CA in a"
        " folder, a server that speaks EST, a Certificate System's CA, a command of the site.",
        shared=True,
    )
    after_percent: int = key(
        "vouchd.renewal.<nickname>.afterPercent",
        integer(1, 95),
        67,
        "Renew when so much of the certificate's life has passed, or up to a twentieth of it later, by a hash of"
        " nickname and host: hosts do not all ask at once.",
        unit="percent",
        shared=True,
    )
    new_key: bool = key(
        "vouchd.renewal.<nickname>.newKey",
        FLAG,
        default=True,
        about="Make a new key each time; `false`: have the same key certified again.",
        shared=True,
    )
    ca: Path | None = key("vouchd.renewal.<nickname>.ca", FILE, "", "`by=ca`: the folder of our CA.")
    command: str = key(
        "vouchd.renewal.<nickname>.command",
        TEXT,
        "",
        "`by=exec`: a program with its arguments, run without a shell: the request (PEM) comes in on its input, the"
        " certificate and the CAs above it go out; anything but exit code 0 is a failure.",
    )
    timeout_seconds: int = key(
        "vouchd.renewal.<nickname>.timeoutInSec", integer(1, 3600), 60, "Give up one attempt after.", unit="seconds"
    )
    url: str = key(
        "vouchd.renewal.<nickname>.url",
        TEXT,
        "",
        "`by=est`: such as https://ca.example.org/.well-known/est, with a label if the server has several;"
        " `by=certsystem`: the CA's secure port, https://ca.example.org:8443.",
        shared=True,
    )
    trust_file: Path | None = key(
        "vouchd.renewal.<nickname>.trust", FILE, "", "The CAs of that server (PEM); empty: the system's."
    )
    user: str = key(
        "vouchd.renewal.<nickname>.user",
        TEXT,
        "",
        "HTTP basic as this user, whose password is `renewal.<nickname>` in password.conf; empty: with the subsystem"
        " certificate.",
        shared=True,
    )
    profile: str = key(
        "vouchd.renewal.<nickname>.profile",
        TEXT,
        "",
        "`by=certsystem`: the CA's profile; empty: its stock one, as caOCSPCert for a signer.",
        shared=True,
    )
    approves: bool = key(
        "vouchd.renewal.<nickname>.approve",
        FLAG,
        default=False,
        about="`by=certsystem`: approve the request as well, as an agent of the CA; `false`: its agents do.",
        shared=True,
    )
