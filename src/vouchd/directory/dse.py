"""The configuration of a new directory server, from the templates that its package brings."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from vouchd.directory.plan import ServerPlan, config_folder, socket_path
from vouchd.errors import ConfigError
from vouchd.files import read_file

TEMPLATES = Path("/usr/share/dirsrv/data")
_INSTALL = "install 389 Directory Server: apt-get install 389-ds-base libnss3-tools, or dnf install 389-ds-base"
ROOT_DN = "cn=Directory Manager"
BACKEND = "userRoot"
MAX_BER_BYTES = 200 << 20  # a CRL of another system may stand in one value
FOLDERS = ("etc", "db", "log", "run", "lock", "ldif", "bak", "tmp", "inst")
USER_SCHEMA = "dn: cn=schema\nobjectClass: top\nobjectClass: ldapSubentry\nobjectClass: subschema\ncn: schema\n"
_PLUGINS = "cn=plugins,cn=config"
_DATABASE = f"cn=config,cn=ldbm database,{_PLUGINS}"


def configuration(plan: ServerPlan, folder: Path, user: str, password: str) -> str:
    """dse.ldif of the server: all its folders below `folder`, the suffix of the plan in a database, no entry in it.

    Raises: ConfigError when the templates are not there.
    """
    values = _values(plan, folder, user, password)
    ldif = _filled("template-dse.ldif", values)
    for dn, attributes in _changes(plan):
        ldif = _edited(ldif, dn, attributes)
    suffix = "\n".join(line for line in _filled("template-suffix-db.ldif", values).split("\n") if line[:1] != "#")
    if plan.small:
        suffix = _edited(suffix, f"cn={BACKEND},cn=ldbm database,{_PLUGINS}", {"nsslapd-cachememsize": "67108864"})
    return ldif.rstrip("\n") + "\n\n" + suffix.lstrip("\n")


def _values(plan: ServerPlan, folder: Path, user: str, password: str) -> dict[str, object]:
    etc, database = config_folder(folder), folder / "db"
    return {
        "schema_dir": etc / "schema",
        "lock_dir": folder / "lock",
        "tmp_dir": folder / "tmp",
        "cert_dir": etc,
        "ldif_dir": folder / "ldif",
        "bak_dir": folder / "bak",
        "run_dir": folder / "run",
        "inst_dir": folder / "inst",
        "log_dir": folder / "log",
        "config_dir": etc,
        "db_dir": database,
        "db_home_dir": database,
        "db_lib": "bdb",
        "fqdn": plan.host,
        "ds_port": plan.port,
        "ds_user": user,
        "rootdn": ROOT_DN,
        "ds_passwd": hashed(password),
        "ldapi_enabled": "on",
        "ldapi": socket_path(folder),
        "ldapi_autobind": "on",
        "ds_suffix": plan.suffix,
        "ds_bename": BACKEND,
    }


def _changes(plan: ServerPlan) -> list[tuple[str, dict[str, str]]]:
    """What differs from the templates: entry and attributes."""
    config = {
        "nsslapd-maxbersize": str(MAX_BER_BYTES),
        "nsslapd-allow-anonymous-access": "rootdse",
        "nsslapd-accesslog-logging-enabled": "off",  # every bind and search would be on disk twice
        "nsslapd-errorlog-maxlogsize": "20",  # MB
        "nsslapd-errorlog-maxlogsperdir": "5",
    }
    if plan.listen:
        config |= {"nsslapd-listenhost": plan.listen, "nsslapd-securelistenhost": plan.listen}
    if plan.secure_port is not None:
        config |= {"nsslapd-security": "on", "nsslapd-secureport": str(plan.secure_port)}
    if plan.require_tls:
        config["nsslapd-require-secure-binds"] = "on"
    database: dict[str, str] = {}
    measured: dict[str, str] = {}
    if plan.small:
        config |= {"nsslapd-maxdescriptors": "1024", "nsslapd-threadnumber": "8"}
        database |= {"nsslapd-cache-autosize": "0", "nsslapd-dbcachesize": "10000000"}
    if not plan.durable:
        # A bind costs no time, nor does each start measure how much time it might take.
        config |= {"nsslapd-enable-upgrade-hash": "off"}
        config |= {"passwordStorageScheme": "SSHA512", "nsslapd-rootpwstoragescheme": "SSHA512"}
        measured["nsslapd-pluginenabled"] = "off"
        database["nsslapd-db-durable-transaction"] = "off"
    return [
        # It would read a file below /etc/dirsrv, which an ordinary user cannot; no matching rule of it is used.
        (f"cn=Internationalization Plugin,{_PLUGINS}", {"nsslapd-pluginenabled": "off"}),
        (f"cn=USN,{_PLUGINS}", {"nsslapd-pluginenabled": "on"}),  # entryusn, lastusn: how changes are noticed
        (f"cn=PBKDF2_SHA256,cn=Password Storage Schemes,{_PLUGINS}", measured),
        ("cn=encryption,cn=config", {"sslVersionMin": "TLS1.2"} if plan.secure_port is not None else {}),
        ("cn=config", config),
        (_DATABASE, database),
    ]


def hashed(password: str) -> str:
    """`password` as the server stores it; after the first bind it replaces that by its own slower scheme."""
    salt = secrets.token_bytes(16)
    return "{SSHA512}" + base64.b64encode(hashlib.sha512(password.encode() + salt).digest() + salt).decode()


def _filled(template: str, values: Mapping[str, object]) -> str:
    try:
        text = read_file(TEMPLATES / template, error=ConfigError, hint=_INSTALL).decode()
    except FileNotFoundError as error:
        raise ConfigError(f"{TEMPLATES / template}: cannot be read: {error.strerror}", hint=_INSTALL) from error
    return re.sub(r"%([a-z_]+)%", lambda match: str(values[match[1]]), text)


def _edited(ldif: str, dn: str, attributes: Mapping[str, str]) -> str:
    """`ldif` with some attributes of one entry replaced."""
    records = []
    for record in ldif.split("\n\n"):
        lines = [line for line in record.split("\n") if line.strip()]
        if lines and lines[0].partition(":")[2].strip().lower() == dn.lower():
            for name, value in attributes.items():
                lines = [line for line in lines if not line.lower().startswith(name.lower() + ":")]
                lines.append(f"{name}: {value}")
        records.append("\n".join(lines))
    return "\n\n".join(records)
