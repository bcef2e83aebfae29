"""Errors of python-ldap as errors of ours; none holds the request, which may have a password in it."""

from __future__ import annotations

from typing import Any

from vouchd.errors import AlreadyExists, ConfigError, NotFound, StoreConflict, StoreError, StoreUnavailable

_UNSAID = {"TIMEOUT": "no answer in time"}  # what the library itself ends without a word


def translated(ldap: Any, error: Exception, where: str, dn: str) -> StoreError | ConfigError:
    """The error of ours that a python-ldap error stands for; it never holds the request, which may have a password."""
    said = _reason(error)
    rows: tuple[tuple[tuple[type[Exception], ...], StoreError | ConfigError], ...] = (
        ((ldap.NO_SUCH_OBJECT,), NotFound(f"{where}: no entry {dn}")),
        ((ldap.ALREADY_EXISTS,), AlreadyExists(f"{where}: {dn} is there already")),
        (
            (ldap.NO_SUCH_ATTRIBUTE, ldap.TYPE_OR_VALUE_EXISTS),
            StoreConflict(f"{where}: {dn} was changed meanwhile", hint="another process was quicker; try again"),
        ),
        (
            (ldap.INVALID_CREDENTIALS,),
            StoreUnavailable(f"{where}: the bind was refused", hint="check the bind DN and its password"),
        ),
        (
            (ldap.INSUFFICIENT_ACCESS,),
            ConfigError(f"{where}: no right to do this to {dn}", hint="run `vouchd directory setup` again"),
        ),
        ((ldap.CONNECT_ERROR,), tls_failure(where, said)),
        (_temporary(ldap), StoreUnavailable(f"{where}: {said}", hint="is the directory server running?")),
    )
    return next((ours for theirs, ours in rows if isinstance(error, theirs)), StoreError(f"{where}: {dn}: {said}"))


def tls_failure(where: str, why: str) -> StoreUnavailable:
    """The error for a server whose certificate will not do."""
    return StoreUnavailable(
        f"{where}: TLS failed: {why}", hint="check the CA file, and that the certificate has this host name"
    )


def _temporary(ldap: Any) -> tuple[type[Exception], ...]:
    return (
        ldap.SERVER_DOWN,
        ldap.TIMEOUT,
        ldap.BUSY,
        ldap.UNAVAILABLE,
        ldap.UNWILLING_TO_PERFORM,
        ldap.TIMELIMIT_EXCEEDED,
    )


def _reason(error: Exception) -> str:
    """What libldap says: its description and info, never the request."""
    detail = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    words = [str(detail[key]) for key in ("desc", "info") if detail.get(key)]
    return ": ".join(words) or _UNSAID.get(type(error).__name__, type(error).__name__)
