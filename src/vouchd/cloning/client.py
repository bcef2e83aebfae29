"""A client of another member: TLS pinned to its certificate, its errors as ours.

Members know each other's TLS server certificate by its SHA-256, from the registry or from the administrator who joins
them: no CA has to be trusted by all hosts for that. Nothing is sent before the certificate was compared.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

from vouchd.client.admin import error_of
from vouchd.client.fingerprints import fingerprint_of, untraced
from vouchd.cloning.listing import Listing, read_listing
from vouchd.cloning.proof import BINDING, HEADER, MemberKey, succeeds
from vouchd.cloning.set_info import Joined, SetInfo, read_info, read_joined
from vouchd.core import records
from vouchd.core.changes import Concerned
from vouchd.core.facts import Epoch, Facts, Member
from vouchd.core.records import member_record, read_concerned, read_facts, read_member
from vouchd.core.signer_facts import KeyringWord, read_word
from vouchd.errors import ClientError, ConfigError, SigningError, StoreError
from vouchd.files import read_file
from vouchd.pkix.der import Buffer
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords

T = TypeVar("T")

PREFIX = "/domain/v1"
TIMEOUT_SECONDS = 15.0
MAX_ANSWER_BYTES = 256 << 20  # facts, or a document of it in pieces
_PIECE_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 16
_CRL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Identity:
    """How a member shows who it is: the certificate that all members share, and its own key."""

    certificate_file: Path
    key_file: Path
    password: str = field(repr=False)
    own: MemberKey | None = None  # None: it shows the keys of the set alone


@dataclass(frozen=True, slots=True)
class PeerEpochs:
    """What another member answers from, and its clock (POSIX seconds).

    `epochs` are all of the CAs of the ids `concerned`, which are those that changed since what it told before; None:
    all that there are. `version` is what to ask with the next time, empty where it is of an earlier version.
    """

    now: int
    epochs: tuple[Epoch, ...]
    master: Member | None = None  # as it knows it
    keyring: KeyringWord | None = None  # None: it is of an earlier version
    asking: Member | None = None  # who asks, as its registry has it; None: it is of an earlier version
    version: str = ""
    concerned: frozenset[str] | None = None


class News(NamedTuple):
    """A version of a member's facts, and these facts: of what is `concerned`, None: all."""

    version: str
    facts: Facts
    concerned: Concerned | None


class PeerClient:
    """Asks the agent port of a member, one connection a request; may be used by several threads.

    `fingerprint` is the SHA-256 of the DER of its TLS server certificate: hex, colons and case do not matter.
    Raises: ConfigError.
    """

    def __init__(
        self,
        host: str,
        port: int,
        fingerprint: str,
        identity: Identity | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._host, self._port = host, port
        self._url = f"https://{host}:{port}"
        self._fingerprint = fingerprint_of(fingerprint, "see clone prepare")
        self._others: frozenset[str] = frozenset()
        self._timeout = timeout_seconds
        self._own = identity.own if identity else None
        self._tls = _context(identity)

    @classmethod
    def of(cls, member: Member, identity: Identity | None, timeout_seconds: float = TIMEOUT_SECONDS) -> PeerClient:
        """A client of that member, under whichever of its certificates it shows. Raises: ConfigError."""
        client = cls(member.host, member.secure_port, member.tls_sha256, identity, timeout_seconds)
        client._others = frozenset(member.pins)
        return client

    def info(self) -> SetInfo:
        """The set, for a member. Raises: VouchdError as the other one tells it, ClientError; so do all below."""
        return _read(self._value("GET", "/info"), read_info)

    def tls_certificate(self) -> bytes:
        """The certificate (DER) of its TLS server, which is the one that was said or comes after that."""
        with self._connected(self._timeout) as connection:
            return connection.sock.getpeercert(binary_form=True) or b""

    def check(self, token: str) -> SetInfo:
        """The set, for who has a join token."""
        return _read(self._value("POST", "/join/check", {"token": token}), read_info)

    def keys(self, token: str, public: bytes, sign: Callable[[bytes], bytes]) -> dict[str, bytes]:
        """The keys of the set that are on no token, sealed to `public`; `sign` signs this connection's binding."""

        def body(binding: bytes) -> Mapping[str, Any]:
            signature = base64.b64encode(sign(binding)).decode()
            return {"token": token, "public": base64.b64encode(public).decode(), "signature": signature}

        with self._sent("POST", f"{PREFIX}/join/keys", body, "application/json", self._timeout) as response:
            value = _json(self._bounded(response))
        return _read(value, lambda record: {str(n): base64.b64decode(one) for n, one in record["sealed"].items()})

    def join(self, member: Member, token: str) -> Joined:
        """Join; the token is used up."""
        body = {"member": member_record(member), "token": token}
        return _read(self._value("POST", "/join", body), read_joined)

    def rejoin(self, member: Member) -> Joined:
        """Join again, with the keys of the set."""
        return _read(self._value("POST", "/rejoin", {"member": member_record(member)}), read_joined)

    def leave(self, member_id: str, *, renew: bool = False) -> None:
        """Take a member out of the set; `renew`: those who stay renew what it knew."""
        self._value("POST", "/leave", {"member": member_id} | ({"renew": True} if renew else {}))

    def promote(self, member_id: str) -> Member:
        """Make a member the master."""
        return _read(self._value("POST", "/promote", {"member": member_id}), read_member)

    def replicate(self, member_id: str, say: Callable[[str], None], timeout_seconds: float) -> None:
        """Have the other member's directory server fill ours; `say` is told of each step."""
        with self._exchange("POST", "/replicate", {"member": member_id}, timeout_seconds) as response:
            while line := response.readline(_MAX_LINE_BYTES):
                line_value = _json(line)
                if not isinstance(line_value, dict):
                    break
                if "done" in line_value:
                    return
                if "error" in line_value:
                    raise error_of(json.dumps(line_value).encode())
                if "step" in line_value:
                    say(str(line_value["step"]))
        raise ClientError(f"{self._url} stopped telling of the initialisation", hint="run the command again")

    def state(self, after: str, wait_seconds: float) -> News | None:
        """Version and facts as soon as they are others than of the version `after`; None when they stay so long."""
        query = urlencode({"after": after, "changes": 1, "wait": f"{wait_seconds:g}"})
        with self._exchange("GET", f"/state?{query}", None, wait_seconds + self._timeout) as response:
            if response.status == http.client.NO_CONTENT:
                return None
            body = self._bounded(response)
        return _read(
            _json(body),
            lambda value: News(
                str(value["digest"]),
                read_facts(value["facts"]),
                read_concerned(value["concerned"]) if "concerned" in value else None,
            ),
        )

    def document(self, sha256: str, max_bytes: int) -> bytes:
        """A document, whose hash is compared."""
        (document,) = self.documents([sha256], max_bytes)
        return document

    def documents(self, names: Iterable[str], max_bytes: int) -> Iterator[bytes]:
        """The documents of these SHA-256 (hex) in their order, over one connection; each hash is compared."""
        with self._connected(self._timeout) as connection:
            proof = self._proof(connection)
            for sha256 in names:
                connection.request("GET", f"{PREFIX}/documents/{sha256}", headers=proof)
                response = connection.getresponse()
                if response.status >= http.client.BAD_REQUEST:
                    self._refused(response)
                yield self._document(response, sha256, max_bytes)

    def _document(self, response: http.client.HTTPResponse, sha256: str, max_bytes: int) -> bytes:
        data = bytearray()
        while piece := response.read(_PIECE_BYTES):
            data += piece
            if len(data) > max_bytes:
                raise ClientError(f"{self._url}: a document is larger than {max_bytes} bytes")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ClientError(f"{self._url}: document {sha256} came damaged")
        return bytes(data)

    def add_crl(self, crl: Buffer) -> None:
        """Have the member take a CRL (DER) in."""
        with self._sent("POST", "/api/v1/crls", crl, "application/pkix-crl", _CRL_SECONDS) as response:
            self._bounded(response)

    def replication_password(self) -> str:
        """The password of the replication account of the set."""
        return _read(self._value("GET", "/replication-password"), lambda record: str(record["password"]))

    def epochs(self, after: str = "") -> PeerEpochs:
        """What it answers from now; only what changed since where it has told of the version `after`."""
        return _read(
            self._value("GET", "/epochs" + (f"?{urlencode({'after': after})}" if after else "")),
            lambda record: PeerEpochs(
                int(record["now"]),
                tuple(map(records.read_epoch, record["epochs"])),
                read_member(record["master"]) if record.get("master") else None,
                read_word(record["keyring"]) if record.get("keyring") else None,
                read_member(record["asking"]) if record.get("asking") else None,
                str(record.get("version", "")),
                frozenset(map(str, record["concerned"])) if "concerned" in record else None,
            ),
        )

    def tell_newer(self, member_id: str, epochs: Iterable[Epoch]) -> None:
        """Tell it that the member `member_id` answers from these, which are newer than what it answers from."""
        newer = {"member": member_id, "epochs": [records.served_record(epoch) for epoch in epochs]}
        self._value("POST", "/newer", newer)

    def listing(self) -> Listing:
        """Its List Certificate Authorities."""
        return _read(self._value("GET", "/list"), lambda record: read_listing(record["list"]))

    def _value(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self._exchange(method, path, body, self._timeout) as response:
            return _json(self._bounded(response))

    def _bounded(self, response: http.client.HTTPResponse) -> bytes:
        data = response.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            raise ClientError(f"the answer of {self._url} is larger than {MAX_ANSWER_BYTES} bytes")
        return data

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to a request with a JSON body."""
        data = b"" if body is None else json.dumps(body).encode()
        with self._sent(method, PREFIX + path, data, "application/json", timeout_seconds) as response:
            yield response

    @contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        content: Buffer | Callable[[bytes], Mapping[str, Any]],
        media_type: str,
        timeout_seconds: float,
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to a request; `content` may be a JSON value that depends on the connection's channel binding."""
        with self._connected(timeout_seconds) as connection:
            data = json.dumps(content(_binding(connection))).encode() if callable(content) else content
            headers = {"Content-Type": media_type} if data else {}
            connection.request(method, path, data or None, headers | self._proof(connection))
            response = connection.getresponse()
            if response.status >= http.client.BAD_REQUEST:
                self._refused(response)
            yield response

    @contextmanager
    def _connected(self, timeout_seconds: float) -> Iterator[http.client.HTTPSConnection]:
        """A connection, once the certificate was seen to be the right one. Raises: ClientError."""
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_seconds, context=self._tls)
        try:
            connection.connect()
            self._require_certificate(connection)
            yield connection
        except (OSError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ClientError(
                f"cannot ask {self._url}: {reason or type(error).__name__}", hint="does it run, and is the port right?"
            ) from error
        finally:
            connection.close()

    def _proof(self, connection: http.client.HTTPSConnection) -> dict[str, str]:
        """The header that says whose connection this is; none for somebody who is no member."""
        if self._own is None:
            return {}
        return {HEADER: self._own.proof(_binding(connection))}

    def _require_certificate(self, connection: http.client.HTTPSConnection) -> None:
        der = connection.sock.getpeercert(binary_form=True) or b""
        fingerprint = hashlib.sha256(der).hexdigest()
        known = hmac.compare_digest(fingerprint, self._fingerprint) or fingerprint in self._others
        if not known and not self._is_renewed(connection, fingerprint):
            raise ClientError(
                f"the certificate of {self._url} is another one than was said: its fingerprint is {fingerprint}",
                hint="compare with what `vouchd clone prepare` shows there; if it differs, something is in between",
            )

    def _is_renewed(self, connection: http.client.HTTPSConnection, fingerprint: str) -> bool:
        """Whether it comes after the certificate that was said, by the word of that one's key; asked as a stranger.

        Only a member asks: a fingerprint that a person has compared is the one or is not.
        """
        if self._own is None:
            return False
        try:
            connection.request("GET", f"{PREFIX}/succession")
            with connection.getresponse() as response:
                words = json.loads(response.read(_MAX_LINE_BYTES))["succession"]
            return succeeds(map(str, words), self._fingerprint, fingerprint)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
            return False

    def _refused(self, response: http.client.HTTPResponse) -> None:
        data = self._bounded(response)
        if "problem+json" in response.headers.get("Content-Type", ""):
            raise error_of(data)
        raise ClientError(
            f"{self._url} answered {response.status} {response.reason}", hint="is this the agent port of vouchd?"
        )


def _binding(connection: http.client.HTTPSConnection) -> bytes:
    """What no other connection has."""
    return connection.sock.get_channel_binding(BINDING) or b""


def _read(value: Any, read: Callable[[Any], T]) -> T:
    try:
        return read(value)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, StoreError) as error:
        raise ClientError("an answer that cannot be read", hint="is it of another version of vouchd?") from error


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ClientError("an answer that is not JSON", hint="is this the agent port of vouchd?") from error


def _context(identity: Identity | None) -> ssl.SSLContext:
    context = untraced()  # the certificate is compared with a fingerprint instead: see _require_certificate
    if identity is not None:
        try:
            context.load_cert_chain(identity.certificate_file, identity.key_file, identity.password)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{identity.certificate_file}: no client certificate with its key", hint="see `vouchd certs list`"
            ) from error
    return context


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an agent port's URL. Raises: ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme != "https":
        raise ConfigError(f"{url[:200]!r} is not the URL of an agent port", hint="as in https://ocsp1.example.org:8443")
    return host, port or 8443


def connector(
    layout: Layout, settings: Settings | Callable[[], Settings], timeout_seconds: float = 15.0
) -> Callable[[Member], PeerClient]:
    """What makes a client of a member, with this instance's subsystem certificate and its own key.

    `settings` are those that it goes by; whoever runs on and on may have other files in use later, and gives a call.
    """
    now = settings if callable(settings) else lambda: settings
    own: dict[bytes, MemberKey] = {}  # by the certificate file, read anew when that is another one

    def connect(member: Member) -> PeerClient:
        files, password = now().subsystem, read_passwords(layout.password_conf).get(INTERNAL, "")
        identity = Identity(files.certificate_file, files.key_file, password, own_key(password))
        return PeerClient.of(member, identity, timeout_seconds)

    def own_key(password: str) -> MemberKey | None:
        tls = now().agent.tls
        if not tls.installed:
            return None
        certificate = read_file(tls.certificate_file, error=SigningError)
        if certificate not in own:
            own.clear()
            own[certificate] = MemberKey.load(tls, password)
        return own.get(certificate)

    return connect
