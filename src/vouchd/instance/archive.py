"""A whole instance in one file: settings, certificates, facts, and what is secret sealed with a password.

How it is made. The file is an uncompressed tar archive: `backup.json` (when, from which version, how many of what),
then the files of the instance by their names in its folder, and last `sealed`. That is a second archive, encrypted with
AES-256-GCM under a key that scrypt makes of the password: keys, passwords, the administrator's file, and the table of
the SHA-256 of every other file.

Why it is right. What is secret is unreadable without the password, and since the table is sealed with it, so is any
change of what is not secret: a file that was exchanged, left out or added is refused before anything is written. The
databases are copies made in one transaction each: the facts, and what this member has believed of its directory server.
What an instance makes anew (index, run, log) is not kept. Names are looked up in the sealed table and never taken from
the archive alone, so none leads out of the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from vouchd.errors import ConfigError, LifecycleError, SigningError, StoreUnavailable
from vouchd.files import MAX_BYTES, PRIVATE, read_file, replacing
from vouchd.settings.layout import Layout

FORMAT = 1
_HEADER, _SEALED, _TABLE = "backup.json", "sealed", "table.json"
_SALT, _NONCE, _KEY = 16, 12, 32
_COST, _BLOCK, _PARALLEL = 1 << 17, 8, 1  # 128 MiB and a third of a second for each password that is tried
_MAX_SEALED_BYTES = 64 << 20
_MAX_FILES = 10_000
_CHUNK = 1 << 20
_NO_BACKUP = "is it what `vouchd backup --all` has written?"


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup whose password was right: what it says of itself, and its files; `secret` is of the sealed part."""

    about: Mapping[str, Any]
    table: Mapping[str, str]  # SHA-256 (hex) by name
    secret: Mapping[str, bytes]


def write_archive(
    out: Path, layout: Layout, databases: Mapping[Path, Path], password: str, about: Mapping[str, Any]
) -> int:
    """Write the instance at `layout` to `out` (0600), with the copies of its `databases`; how many files that were.

    Raises: SigningError for an empty password; StoreUnavailable.
    """
    if not password:
        raise SigningError("the password of a backup is empty", hint="put one into a file (0600): --password-file FILE")
    public = {name: layout.root / name for name in _names(layout, secret=False)}
    public |= {_relative(layout, database): copy for database, copy in databases.items()}
    private = {name: read_file(layout.root / name) for name in _names(layout, secret=True)}
    with replacing(out, PRIVATE) as file, tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, _HEADER, json.dumps({"format": FORMAT, **about}, indent=1).encode())
        table = {name: _add_file(archive, name, path) for name, path in public.items()}
        _add(archive, _SEALED, _seal(_packed({_TABLE: json.dumps(table).encode(), **private}), password))
    return len(public) + len(private)


def open_archive(path: Path, password: str) -> Opened:
    """The backup in `path`, with its sealed part; the other files are not looked at yet.

    Raises: ConfigError when it is no backup; SigningError when the password is another one.
    """
    with _reading(path) as archive:
        members = {member.name: member for member in _members(path, archive)}
        about = _json(path, _content(path, archive, members.get(_HEADER), MAX_BYTES))
        if about.get("format") != FORMAT:
            raise ConfigError(f"{path}: a backup of another version", hint="restore it with the version that made it")
        sealed = _content(path, archive, members.get(_SEALED), _MAX_SEALED_BYTES)
    secret = _unpacked(path, _unseal(path, sealed, password))
    table = {str(name): str(digest) for name, digest in _json(path, secret.pop(_TABLE, b"")).items()}
    if missing := sorted(table.keys() ^ (members.keys() - {_HEADER, _SEALED})):
        raise ConfigError(f"{path}: {missing[0]} was taken out or put in", hint="take another copy of the backup")
    return Opened(about, table, secret)


def extract(path: Path, opened: Opened, layout: Layout) -> None:
    """Write the files of a backup into the folder of `layout`, each whole and compared with the table.

    Raises: ConfigError when one is not what was backed up; StoreUnavailable.
    """
    for name, data in opened.secret.items():
        with _new(layout, name) as file:
            file.write(data)
    with _reading(path) as archive:
        for member in _members(path, archive):
            wanted = opened.table.get(member.name)
            source = archive.extractfile(member) if wanted else None
            if source is None:
                continue
            digest = hashlib.sha256()
            with _new(layout, member.name) as file:
                for chunk in _chunks(source):
                    digest.update(chunk)
                    file.write(chunk)
                if digest.hexdigest() != wanted:
                    raise ConfigError(f"{path}: {member.name} was changed", hint="take another copy of the backup")


def _names(layout: Layout, *, secret: bool) -> list[str]:
    """The instance's files that are kept, by their names in its folder."""
    secrets = [layout.password_conf, layout.admin_pkcs12, layout.admin_password]
    others = [layout.cs_cfg]
    for path in sorted(layout.alias.rglob("*")):
        if stat.S_ISREG(path.lstat().st_mode) and not path.name.startswith("."):
            (others if path.suffix in {".pem", ".crt", ".csr"} else secrets).append(path)
    return [_relative(layout, path) for path in (secrets if secret else others) if path.is_file()]


def _relative(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()


def _packed(files: Mapping[str, bytes]) -> bytes:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for name, data in files.items():
            _add(archive, name, data)
    return inner.getvalue()


def _unpacked(path: Path, data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {member.name: _content(path, archive, member, _MAX_SEALED_BYTES) for member in archive}


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_entry(name, len(data)), io.BytesIO(data))


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> str:
    """Add the file; returns its SHA-256 as it was written."""
    digest = hashlib.sha256()

    class Digesting(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            chunk = file.read(size)
            digest.update(chunk)
            return chunk

    try:
        with path.open("rb") as file:
            archive.addfile(_entry(name, os.fstat(file.fileno()).st_size), Digesting())
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: cannot be read: {error.strerror}", hint="run it as the instance's user"
        ) from error
    return digest.hexdigest()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, PRIVATE
    return entry


def _seal(data: bytes, password: str) -> bytes:
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return salt + nonce + AESGCM(_key(password, salt)).encrypt(nonce, data, None)


def _unseal(path: Path, sealed: bytes, password: str) -> bytes:
    salt, nonce = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE]
    try:
        return AESGCM(_key(password, salt)).decrypt(nonce, sealed[_SALT + _NONCE :], None)
    except (InvalidTag, ValueError):
        raise SigningError(f"{path}: the password is another one, or the file is damaged") from None


def _key(password: str, salt: bytes) -> bytes:
    kdf = Scrypt(salt=salt, length=_KEY, n=_COST, r=_BLOCK, p=_PARALLEL)
    return kdf.derive(password.encode("utf-8", "surrogateescape"))


@contextmanager
def _reading(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            yield archive
    except tarfile.TarError as error:
        raise ConfigError(f"{path}: no backup", hint=_NO_BACKUP) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    seen: set[str] = set()
    for member in archive:
        if not member.isreg() or member.name in seen or len(seen) > _MAX_FILES:
            raise ConfigError(f"{path}: no backup", hint=_NO_BACKUP)
        seen.add(member.name)
        yield member


def _content(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo | None, limit: int) -> bytes:
    source = archive.extractfile(member) if member is not None and member.size <= limit else None
    if source is None:
        raise ConfigError(f"{path}: no backup", hint=_NO_BACKUP)
    return source.read()


def _json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: no backup", hint=_NO_BACKUP)
    return value


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk


@contextmanager
def _new(layout: Layout, name: str) -> Iterator[IO[bytes]]:
    place = layout.root / name
    if not place.resolve().is_relative_to(layout.root.resolve()):
        raise ConfigError(f"{name}: leads out of the instance's folder", hint=_NO_BACKUP)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(place, PRIVATE, error=LifecycleError) as file:
        yield file
