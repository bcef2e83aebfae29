"""The keys of CS.cfg about the set an instance belongs to: its directory server, its security domain, its master."""

from __future__ import annotations

from vouchd.settings.kinds import FILE, FLAG, TEXT, KnownKey, choice, integer

EMBEDDED = "embedded"
DIRECTORY = "directory"
_DAY = 86400

SET_KEYS = (
    KnownKey("vouchd.store", choice(EMBEDDED, DIRECTORY), EMBEDDED, "Where facts are kept: a file here, or LDAP."),
    KnownKey("internaldb.ldapconn.host", TEXT, "", "The directory server, by its fully qualified name."),
    KnownKey("internaldb.ldapconn.port", integer(1, 65535), 389, "Its port."),
    KnownKey("internaldb.ldapconn.secureConn", FLAG, default=False, about="TLS from the first octet (LDAPS)."),
    KnownKey("internaldb.basedn", TEXT, "", "The suffix, the same for every member of a set."),
    KnownKey(
        "internaldb.ldapauth.bindDN",
        TEXT,
        "cn=vouchd,ou=csusers,cn=config",
        "The instance's account there; its password is `internaldb` in password.conf.",
    ),
    KnownKey("vouchd.directory.startTLS", FLAG, default=False, about="TLS by StartTLS on the plain port."),
    KnownKey("vouchd.directory.trust", FILE, "", "CAs of the directory server (PEM); empty: the system's."),
    KnownKey(
        "vouchd.directory.replicaId",
        integer(0, 65534),
        0,
        "Its replica id, unique in the set; 0: no replica.",
    ),
    KnownKey("securitydomain.name", TEXT, "vouchd", "The security domain that master and clones are in."),
    KnownKey("vouchd.domain.host", TEXT, "", "The fully qualified name under which other members reach this host."),
    KnownKey(
        "vouchd.clone.master",
        TEXT,
        "",
        "Embedded store: the master to follow, HOST:PORT of its agent port; empty: this is no clone.",
    ),
    KnownKey(
        "vouchd.clone.staleInSec",
        integer(0, _DAY),
        60,
        "Answer tryLater for a CA when another member has had a newer CRL for so long (seconds); 0: never.",
    ),
    KnownKey("vouchd.clone.peersInSec", integer(1, 3600), 5, "Look at the other members this often (seconds)."),
    KnownKey(
        "vouchd.clone.verifyInSec",
        integer(0, _DAY),
        300,
        "Compare lists and answers with the other members this often (seconds); 0: never.",
    ),
)
