"""`ocsp.storeId=ldapStore`: CAs and their CRLs as they lie in directories, by the keys that the guides have for that.

Each directory is a source (`SourceSettings`): its CRLs are judged as all are. A CA that is found there is answered for
when a signer of the instance may: who can write into a directory names no CAs by that alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from vouchd.core.policy import ResponsePolicy
from vouchd.settings.keys import key, parts
from vouchd.settings.kinds import FLAG, TEXT, integer

NAME = "ldapStore"
MAX_DIRECTORIES = 100
_POLICY = ResponsePolicy()
_PREFIX = "ocsp.store.ldapStore"


@dataclass(frozen=True, slots=True)
class LDAPStoreDirectory:
    """One of the directories; it is read as anybody, as there."""

    number: int
    host: str = key(f"{_PREFIX}.host<n>", TEXT, "", "The n-th directory, counted from 0.", required="HOST")
    base_dn: str = key(f"{_PREFIX}.baseDN<n>", TEXT, "", "Where its CAs are, with all below.", required="DN")
    port: int = key(f"{_PREFIX}.port<n>", integer(1, 65535), 389, "Its port.")
    refresh_seconds: int = key(
        f"{_PREFIX}.refreshInSec<n>", integer(1, 31 * 86400), 86400, "Look into it this often.", unit="seconds"
    )

    def url(self, certificate_attribute: str, crl_attribute: str) -> str:
        """The search for entries that have a CA's certificate or a CRL (RFC 4516)."""
        plain = [attribute.partition(";")[0] for attribute in (certificate_attribute, crl_attribute)]
        wanted = quote("(|" + "".join(f"({attribute}=*)" for attribute in plain) + ")", safe="()|=*")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ldap://{host}:{self.port}/{quote(self.base_dn, safe=',=')}?{crl_attribute}?sub?{wanted}"


@dataclass(frozen=True, slots=True)
class LDAPStoreSettings:
    """What the store of that name is made of; without effect while the store is another one."""

    count: int = key(f"{_PREFIX}.numConns", integer(0, MAX_DIRECTORIES), 0, "How many directories there are.")
    certificate_attribute: str = key(
        f"{_PREFIX}.caCertAttr",
        TEXT,
        "cACertificate;binary",
        "What holds a CA's certificate, with `;binary` or without.",
    )
    crl_attribute: str = key(
        f"{_PREFIX}.crlAttr", TEXT, "certificateRevocationList;binary", "What holds its CRL, with `;binary` or without."
    )
    not_found_as_good: bool = key(
        f"{_PREFIX}.notFoundAsGood",
        FLAG,
        _POLICY.not_found_as_good,
        "As of defStore, where this store is the active one.",
    )
    include_next_update: bool = key(
        f"{_PREFIX}.includeNextUpdate",
        FLAG,
        _POLICY.include_next_update,
        "As of defStore, where this store is the active one.",
    )
    by_name: bool = key(
        f"{_PREFIX}.byName", FLAG, _POLICY.by_name, "As of defStore, where this store is the active one."
    )
    directories: tuple[LDAPStoreDirectory, ...] = parts(LDAPStoreDirectory, ())
