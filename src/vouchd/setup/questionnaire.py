"""What is answered when an instance is set up, panel by panel: one model for the wizard's pages and the answers file.

A field is declared once: its title and explanation on the page, its name in the answers file (`panel.field` in JSON,
`pki_…` in the INI), whether it is a secret, and the choice that it belongs to. Every field has a default, so what was
answered so far is a whole model too; what is missing or wrong is the panels' to say (`checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from vouchd.directory.dse import ROOT_DN
from vouchd.instance.creation import DEFAULT_NICKNAME
from vouchd.instance.new_signer import DEFAULT_ALGORITHM, DEFAULT_SUBJECT
from vouchd.pkix.signatures import ALGORITHMS

_LONGEST = 4096


def ask(
    title: str,
    about: str,
    example: str = "",
    *,
    ini: str,
    also: tuple[str, ...] = (),
    secret: bool = False,
    when: tuple[str, ...] = (),
    words: Mapping[str, str] | None = None,
    choices: Mapping[str, tuple[str, str]] | None = None,
    chosen: bool = False,
) -> Meta:
    """A field: `when` are the values of the panel's `kind` that it belongs to.

    `words` is what the INI has for each value, `choices` what the page calls it, with an explanation. `also` are other
    names that the INI may have for it.
    `chosen`: a secret that is made up here, so it is typed twice.
    """
    extra = {
        "ini": ini,
        "also": also,
        "secret": secret,
        "when": when,
        "words": dict(words or {}),
        "choices": dict(choices or {}),
        "chosen": chosen,
    }
    return Meta(title=title, description=about, examples=[example] if example else None, extra=extra)


Text = Annotated[str, Meta(max_length=_LONGEST)]
Port = Annotated[int, Meta(ge=0, le=65535)]
FILE = "A file on this host"


class KeyStore(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the signing key lives."""

    kind: Annotated[
        Literal["software", "token"],
        ask(
            "Where the signing key is kept",
            "The other keys of the instance are files.",
            ini="pki_hsm_enable",
            choices={
                "software": ("In files of this host", "Encrypted, in the instance's folder."),
                "token": ("On a token", "A PKCS #11 token (HSM), which the key never leaves."),
            },
            words={"software": "False", "token": "True"},
        ),
    ] = "software"
    module: Annotated[
        Text,
        ask(
            "PKCS #11 module",
            f"{FILE}: the library of the token's maker.",
            "/usr/lib/softhsm/libsofthsm2.so",
            ini="pki_hsm_libfile",
            when=("token",),
        ),
    ] = ""
    token: Annotated[
        Text, ask("Label of the token", "As its maker's tool shows it.", "ocsp", ini="pki_token_name", when=("token",))
    ] = ""
    pin: Annotated[
        Text,
        ask(
            "PIN of the token", "Kept in password.conf (0600).", ini="pki_token_password", secret=True, when=("token",)
        ),
    ] = ""


class SecurityDomain(Struct, frozen=True, forbid_unknown_fields=True):
    """The set of instances that know each other."""

    kind: Annotated[
        Literal["new", "join", "certsystem"],
        ask(
            "Security domain",
            "The instances that have the same keys and know each other.",
            choices={
                "new": ("Make a new domain", "This instance is its first member, and its master."),
                "join": ("Join a domain that is there", "This instance becomes a clone of one of its members."),
                "certsystem": (
                    "Join a Certificate System's domain",
                    "A CA of Dogtag or Red Hat Certificate System hosts it, and lists this OCSP manager.",
                ),
            },
            ini="pki_security_domain_type",
            words={"new": "new", "join": "existing", "certsystem": "certificate-system"},
        ),
    ] = "new"
    name: Annotated[
        Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")],
        ask(
            "Name of the domain",
            "For people; all members show it.",
            "Example Security Domain",
            ini="pki_security_domain_name",
            when=("new",),
        ),
    ] = "vouchd"
    url: Annotated[
        Text,
        ask(
            "URL of a member, or of the CA",
            "A member's agent port, as `vouchd clone prepare` shows it there; the CA's secure port.",
            "https://ocsp1.example.org:8443",
            ini="pki_security_domain_uri",
            when=("join", "certsystem"),
        ),
    ] = ""
    fingerprint: Annotated[
        Text,
        ask(
            "Fingerprint of its certificate",
            "SHA-256, as `vouchd clone prepare` shows it on a member. Left empty, what is shown now is put here, to be"
            " compared.",
            ini="pki_security_domain_fingerprint",
            when=("join", "certsystem"),
        ),
    ] = ""
    token: Annotated[
        Text,
        ask(
            "Join token",
            "From `vouchd clone prepare` or `vouchd domain token` there; good once, and for a limited time.",
            ini="pki_security_domain_password",
            secret=True,
            when=("join",),
        ),
    ] = ""
    user: Annotated[
        Text,
        ask(
            "Administrator of that domain",
            "A user of the CA, of the group Enterprise OCSP Administrators.",
            "caadmin",
            ini="pki_security_domain_user",
            when=("certsystem",),
        ),
    ] = ""
    password: Annotated[
        Text,
        ask(
            "Password of the administrator",
            "Shown to that CA alone, and not kept.",
            ini="pki_security_domain_password",
            secret=True,
            when=("certsystem",),
        ),
    ] = ""
    publish: Annotated[
        bool,
        ask(
            "Have that CA publish its CRLs here",
            "It gets a publisher for this instance, from its next start on; what it published while this instance was"
            " down is fetched.",
            ini="pki_security_domain_publish",
            when=("certsystem",),
        ),
    ] = False
    trust: Annotated[
        Text,
        ask(
            "CAs of that port, for fetching",
            f"{FILE}, PEM, with which the CA is known when its CRLs are fetched; empty: those that this host trusts.",
            "/srv/ca.pem",
            ini="pki_security_domain_trust",
            when=("certsystem",),
        ),
    ] = ""


class Subsystem(Struct, frozen=True, forbid_unknown_fields=True):
    """What this instance is, and where it is reached."""

    kind: Annotated[
        Literal["new", "clone"],
        ask(
            "Subsystem type",
            "A clone has the keys of its domain; a new subsystem has its own.",
            choices={
                "new": ("A new subsystem", "An OCSP manager with keys of its own."),
                "clone": ("A clone", "It gives the answers of its master, byte for byte."),
            },
            ini="pki_clone",
            words={"new": "False", "clone": "True"},
        ),
    ] = "new"
    master: Annotated[
        Text,
        ask(
            "Member to clone",
            "HOST:PORT of a member of the domain; its master is proposed.",
            "ocsp1.example.org:8443",
            ini="pki_clone_uri",
            when=("clone",),
        ),
    ] = ""
    host: Annotated[
        Annotated[str, Meta(max_length=253)],
        ask(
            "Name of this host",
            "Fully qualified, as the others of the domain reach it.",
            "ocsp2.example.org",
            ini="pki_hostname",
        ),
    ] = ""
    listen: Annotated[
        Annotated[str, Meta(max_length=253)],
        ask(
            "Address to listen on",
            "Empty: all addresses of this host.",
            "192.0.2.7",
            ini="pki_listen",
        ),
    ] = ""
    port: Annotated[Port, ask("OCSP port", "Where clients ask, over HTTP.", "8080", ini="pki_http_port")] = 8080
    agent_port: Annotated[
        Port, ask("Agent port", "Agents, publishing CAs and members, over TLS.", "8443", ini="pki_https_port")
    ] = 8443
    health_port: Annotated[
        Port, ask("Health port", "Health checks and metrics; 0: one that is free.", "8081", ini="pki_health_port")
    ] = 8081
    workers: Annotated[
        Annotated[int, Meta(ge=0, le=256)],
        ask("Worker processes", "0: one for each core.", "0", ini="pki_workers"),
    ] = 0


class RestoreKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """Keys that are there already: the master's, or a new subsystem's own signing key."""

    kind: Annotated[
        Literal["none", "file", "pem"],
        ask(
            "Signing key of a new subsystem",
            "Another responder may have had it, or somebody else may have made it. A clone always has a file.",
            choices={
                "none": ("Make a new one", "It is made at Key Pairs; a CA certifies it."),
                "file": ("From a PKCS #12 file", "It has the key, its certificate, and those above that."),
                "pem": ("By its certificate", "The key is in a file beside it, or on the token of Key Store."),
            },
            ini="pki_existing",
            words={"none": "False", "file": "True"},
        ),
    ] = "none"
    path: Annotated[
        Text,
        ask(
            "PKCS #12 file",
            f"{FILE}, readable by its owner alone (0600). For a clone `vouchd clone prepare` makes it on the master.",
            "/srv/ocsp-keys.p12",
            ini="pki_clone_pkcs12_path",
            also=("pki_pkcs12_path",),
            when=("file",),
        ),
    ] = ""
    certificate: Annotated[
        Text,
        ask(
            "Certificate of the signing key",
            f"{FILE}, PEM or DER; those between it and its CA may follow in it.",
            "/srv/ocsp-signer.pem",
            ini="pki_ocsp_signing_cert_path",
            when=("pem",),
        ),
    ] = ""
    key: Annotated[
        Text,
        ask(
            "Signing key",
            f"{FILE}, PEM or DER, readable by its owner alone (0600); with a token it is left out.",
            "/srv/ocsp-signer.key",
            ini="pki_ocsp_signing_key_path",
            when=("pem",),
        ),
    ] = ""
    password: Annotated[
        Text,
        ask(
            "Its password",
            "Of the PKCS #12 file, or of a key that is encrypted. Used once, and not kept.",
            ini="pki_clone_pkcs12_password",
            also=("pki_pkcs12_password",),
            secret=True,
            when=("file", "pem"),
        ),
    ] = ""


class InternalDatabase(Struct, frozen=True, forbid_unknown_fields=True):
    """Where CAs, CRLs and users are kept."""

    kind: Annotated[
        Literal["embedded", "directory"],
        ask(
            "Internal database",
            "Where CAs, CRLs and users are kept; alike for all members of a domain.",
            choices={
                "embedded": ("Embedded", "A file in the instance's folder; a clone follows its master."),
                "directory": (
                    "A directory server",
                    "A 389 Directory Server of its own, which replicates with the others.",
                ),
            },
            ini="pki_ds_setup",
            words={"embedded": "False", "directory": "True"},
        ),
    ] = "embedded"
    host: Annotated[
        Annotated[str, Meta(max_length=253)],
        ask(
            "Host",
            "Fully qualified, as the other directory servers reach it; never localhost.",
            "ldap2.example.org",
            ini="pki_ds_hostname",
            when=("directory",),
        ),
    ] = ""
    port: Annotated[
        Port,
        ask("Port", "Usually 389, or 636 for TLS.", "389", ini="pki_ds_port", when=("directory",)),
    ] = 389
    suffix: Annotated[
        Annotated[str, Meta(max_length=256)],
        ask(
            "Suffix",
            "The same for all members of a domain.",
            "dc=ocsp,dc=example,dc=org",
            ini="pki_ds_base_dn",
            when=("directory",),
        ),
    ] = ""
    connection: Annotated[
        Literal["plain", "tls", "starttls"],
        ask(
            "Connection, and replication",
            "To this server, and of the servers with each other: the same for all members.",
            choices={
                "plain": ("Plain", "Nothing is encrypted: within one host, or a lab."),
                "tls": ("TLS", "From the first byte, on the secure port."),
                "starttls": ("StartTLS", "TLS that begins on the plain port."),
            },
            ini="pki_ds_connection",
            when=("directory",),
        ),
    ] = "starttls"
    trust: Annotated[
        Text,
        ask(
            "CAs of the directory server",
            f"{FILE}, PEM; empty: those that this host trusts.",
            "/etc/dirsrv/ca.pem",
            ini="pki_ds_secure_connection_ca_pem_file",
            when=("directory",),
        ),
    ] = ""
    client_certificate: Annotated[
        bool,
        ask(
            "Bind with the subsystem certificate",
            "Instead of a password, in TLS or StartTLS. The server has to map it, as those of `vouchd directory create`"
            " do.",
            ini="pki_ds_client_certificate",
            when=("directory",),
        ),
    ] = False
    manager: Annotated[
        Annotated[str, Meta(max_length=500)],
        ask("Who configures it", "Needed now, and not kept.", ini="pki_ds_bind_dn", when=("directory",)),
    ] = ROOT_DN
    password: Annotated[
        Text,
        ask("Its password", "Used once, and not kept.", ini="pki_ds_password", secret=True, when=("directory",)),
    ] = ""


class KeyPairs(Struct, frozen=True, forbid_unknown_fields=True):
    """The signing key that is made."""

    algorithm: Annotated[
        Annotated[str, Meta(extra={"options": list(ALGORITHMS)})],
        ask(
            "Algorithm of the signing key",
            "What answers are signed with. ECDSA on P-256 is fast and short; RSA is what old clients know; ML-DSA"
            " withstands quantum computers.",
            DEFAULT_ALGORITHM,
            ini="pki_ocsp_signing_signing_algorithm",
        ),
    ] = DEFAULT_ALGORITHM
    extractable: Annotated[
        bool,
        ask(
            "May be wrapped by the token",
            "For a backup by the means of the token's maker; for a key on a token only.",
            ini="pki_ocsp_signing_extractable",
        ),
    ] = False


class SubjectNames(Struct, frozen=True, forbid_unknown_fields=True):
    """What the certificates are called."""

    subject: Annotated[
        Annotated[str, Meta(max_length=400)],
        ask(
            "Subject of the signing certificate",
            "As RFC 4514 writes it; clients may show it.",
            "CN=OCSP Signing Certificate,O=Example",
            ini="pki_ocsp_signing_subject_dn",
        ),
    ] = DEFAULT_SUBJECT
    nickname: Annotated[
        Annotated[str, Meta(max_length=64, pattern="^[A-Za-z0-9_-]*$")],
        ask(
            "Nickname",
            "What the signer is called in CS.cfg; of several keys in a PKCS #12 file the one of this name is taken.",
            ini="pki_ocsp_signing_nickname",
        ),
    ] = DEFAULT_NICKNAME
    server_names: Annotated[
        Text,
        ask(
            "Names of the TLS server",
            "Host names and addresses of the agent port, with blanks between them; empty: the name of this host.",
            "ocsp1.example.org ocsp.example.org",
            ini="pki_sslserver_names",
        ),
    ] = ""


class Requests(Struct, frozen=True, forbid_unknown_fields=True):
    """Who certifies the keys."""

    kind: Annotated[
        Literal["csr", "est", "certsystem", "ca"],
        ask(
            "Who certifies",
            "Of all keys that are made here: of a clone that of its TLS server alone.",
            choices={
                "csr": ("A CA that you carry the requests to", "Set-up waits until its certificates are put in here."),
                "est": ("A CA that speaks EST", "RFC 7030; it certifies at once."),
                "certsystem": (
                    "A Certificate System's CA",
                    "Dogtag or Red Hat Certificate System: its agents approve the requests, or one does it here.",
                ),
                "ca": ("Our own certificate manager", "A folder of this host, for labs and small sites."),
            },
            ini="pki_certificate_source",
        ),
    ] = "csr"
    ca: Annotated[
        Text,
        ask("Folder of our CA", "As `vouchd ca create` made it.", "/srv/ca", ini="pki_ca_folder", when=("ca",)),
    ] = ""
    url: Annotated[
        Text,
        ask(
            "URL of that CA",
            "EST: it ends with /.well-known/est, or with a label below that. Certificate System: its secure port.",
            "https://ca.example.org:8443",
            ini="pki_issuing_ca_uri",
            also=("pki_est_url",),
            when=("est", "certsystem"),
        ),
    ] = ""
    trust: Annotated[
        Text,
        ask(
            "CAs of that server",
            f"{FILE}, PEM; empty: those that this host trusts.",
            "/srv/ca.pem",
            ini="pki_issuing_ca_trust",
            also=("pki_est_trust",),
            when=("est", "certsystem"),
        ),
    ] = ""
    profile: Annotated[
        Text,
        ask(
            "Profile for the signing key",
            "Empty: the stock one, `caOCSPCert`. The other keys go by the stock profiles of their kinds.",
            "caOCSPCert",
            ini="pki_ocsp_signing_profile",
            when=("certsystem",),
        ),
    ] = ""
    approve: Annotated[
        bool,
        ask(
            "Approve the requests from here",
            "As an agent of that CA, by password or certificate; else set-up waits until its agents have.",
            ini="pki_issuing_ca_approve",
            when=("certsystem",),
        ),
    ] = False
    user: Annotated[
        Text,
        ask(
            "User there",
            "HTTP basic. Certificate System: an agent, and only to approve.",
            "ocsp",
            ini="pki_issuing_ca_user",
            also=("pki_est_user",),
            when=("est", "certsystem"),
        ),
    ] = ""
    agent: Annotated[
        Text,
        ask(
            "Or the agent's certificate",
            f"{FILE}: a PKCS #12 file with its key, readable by its owner alone (0600). Used now, and not kept.",
            "/srv/ca-agent.p12",
            ini="pki_issuing_ca_agent",
            when=("certsystem",),
        ),
    ] = ""
    password: Annotated[
        Text,
        ask(
            "Password of that user, or of that file",
            "A user's is kept in password.conf (0600), for renewal; a file's is not kept.",
            ini="pki_issuing_ca_password",
            also=("pki_est_password",),
            secret=True,
            when=("est", "certsystem"),
        ),
    ] = ""
    authorities: Annotated[
        Text,
        ask(
            "CAs to answer for",
            f"{FILE}, PEM or DER. Our own CA needs none; others can be added later too.",
            "/srv/example-ca.pem",
            ini="pki_cert_chain_path",
        ),
    ] = ""


class ExportKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys backed up."""

    kind: Annotated[
        Literal["none", "file"],
        ask(
            "Export the keys",
            "The keys but that of the TLS server, with their chains: for a spare, and for clones.",
            choices={
                "file": ("Into a PKCS #12 file", "Keep it, and its password, in safe places apart."),
                "none": ("Not now", "`vouchd backup` does it at any time."),
            },
            ini="pki_backup_keys",
            words={"none": "False", "file": "True"},
        ),
    ] = "none"
    path: Annotated[
        Text,
        ask(
            "Where the file goes",
            "A new file on this host (0600); its folder has to be there.",
            "/srv/ocsp-keys.p12",
            ini="pki_backup_file",
            when=("file",),
        ),
    ] = ""
    password: Annotated[
        Text,
        ask(
            "Its password",
            "At least 8 characters; a clone asks for it. It is kept nowhere.",
            ini="pki_backup_password",
            secret=True,
            chosen=True,
            when=("file",),
        ),
    ] = ""


class Administrator(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may do everything at the agent port."""

    password: Annotated[
        Text,
        ask(
            "Password of the browser's file",
            "The administrator's key and certificate come in admin.p12, under this password. Left empty, one is made,"
            " and lies beside it in admin.password.",
            ini="pki_client_pkcs12_password",
            secret=True,
            chosen=True,
        ),
    ] = ""


class Answers(Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, by panel."""

    key_store: KeyStore = KeyStore()
    security_domain: SecurityDomain = SecurityDomain()
    subsystem: Subsystem = Subsystem()
    restore_keys: RestoreKeys = RestoreKeys()
    internal_database: InternalDatabase = InternalDatabase()
    key_pairs: KeyPairs = KeyPairs()
    subject_names: SubjectNames = SubjectNames()
    requests: Requests = Requests()
    export_keys: ExportKeys = ExportKeys()
    administrator: Administrator = Administrator()

    @property
    def enters_certsystem(self) -> bool:
        """Whether the domain is one that a Certificate System hosts."""
        return self.security_domain.kind == "certsystem"

    @property
    def is_clone(self) -> bool:
        """Whether a clone is to be made."""
        return self.subsystem.kind == "clone"

    @property
    def restores_signer(self) -> bool:
        """Whether a new subsystem's signing key is there already, with its certificate."""
        return not self.is_clone and self.restore_keys.kind != "none"

    @property
    def on_token(self) -> bool:
        """Whether the signing key is on a token."""
        return self.key_store.kind == "token"
