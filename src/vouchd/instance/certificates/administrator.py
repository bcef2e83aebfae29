"""The administrator that is made with an instance: a user with all rights, and the file its browser imports."""

from __future__ import annotations

import secrets

from vouchd.core.facts import Caller, Group
from vouchd.errors import NotFound
from vouchd.files import replace_file
from vouchd.instance.certificates.places import ADMIN, SystemCertificate
from vouchd.service.users import Users
from vouchd.settings.layout import Layout
from vouchd.signing.keys import read_key
from vouchd.signing.pkcs12 import KeyBag, write_pkcs12

GROUPS = (Group.ADMINISTRATORS, Group.AGENTS, Group.AUDITORS)
_PASSWORD_BYTES = 18


def enrol(layout: Layout, admin: SystemCertificate, password: str | None, users: Users, caller: Caller) -> None:
    """Register the administrator's certificate with the user `admin` and write PKCS #12 and password files (0600).

    A user that is there keeps its groups and its other certificates. `password` opens the key file.

    Raises: SigningError; AlreadyExists when the certificate is another user's; PermissionDenied.
    """
    if admin.certificate is None or admin.der is None:
        return
    try:
        users.add_certificate(ADMIN, admin.der, caller)
    except NotFound:
        users.add(ADMIN, caller, full_name="Administrator", groups=GROUPS, certificates=[admin.der])
    key = read_key(admin.files.key_file, password)
    secret = secrets.token_urlsafe(_PASSWORD_BYTES)
    bag = KeyBag(key, admin.certificate, admin.chain, f"vouchd {admin.certificate.subject.rfc4514_string()}")
    replace_file(layout.admin_password, f"{secret}\n".encode(), 0o600)
    write_pkcs12(layout.admin_pkcs12, bag, secret)
