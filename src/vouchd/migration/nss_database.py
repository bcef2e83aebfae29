"""NSS databases, in which a Certificate System keeps its keys: known by their looks, told with what exports them."""

from __future__ import annotations

from pathlib import Path

from vouchd.errors import SigningError
from vouchd.files import read_head

_FILES = ("key4.db", "cert9.db", "key3.db", "cert8.db", "secmod.db", "pkcs11.txt")
_SQLITE = b"SQLite format 3\0"
_BERKELEY = bytes.fromhex("00061561")  # at the start of a hash of Berkeley DB 1.85, which cert8.db is
_HINT = (
    "export the keys first: pki-server ocsp-clone-prepare -i INSTANCE --pkcs12-file FILE --pkcs12-password-file FILE,"
    " or PKCS12Export -d {folder} -p NSS-PASSWORD-FILE -o FILE -w PASSWORD-FILE"
)


def require_no_nss_database(path: Path) -> None:
    """Return unless `path` is an NSS database, or the folder of one. Raises: SigningError with the way out of it."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        names = [name for name in _FILES if (path / name).exists()]
        what = f"the folder of an NSS database ({', '.join(names)})" if names else "a folder"
        raise SigningError(f"{path}: {what}, not a PKCS #12 file", hint=_HINT.format(folder=folder))
    if path.name in _FILES or read_head(path, len(_SQLITE)).startswith((_SQLITE, _BERKELEY)):
        raise SigningError(f"{path}: a file of an NSS database, not a PKCS #12 file", hint=_HINT.format(folder=folder))
