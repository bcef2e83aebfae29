"""A new instance: its folder is built beside its place and renamed into it, so it is there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vouchd.errors import AlreadyExists, LifecycleError
from vouchd.files import sync_folder, write_new
from vouchd.instance.certificates.requests import certificate_request
from vouchd.instance.unconfigured import is_being_set_up, is_unconfigured
from vouchd.locks import acquired
from vouchd.pkix.purposes import Purpose
from vouchd.settings import cs_cfg
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, new_password, write_passwords
from vouchd.signing.keys import PrivateKey, write_key

DEFAULT_NICKNAME = "ocspSigningCert"

_TEMPLATE = """\
# Settings of this vouchd instance: key=value lines. docs/use/configuration.md tells every key and its default.
# After a change: vouchd restart

ocsp.storeId=defStore
ocsp.store.defStore.notFoundAsGood=true
ocsp.store.defStore.includeNextUpdate=true
ocsp.store.defStore.byName=false
ocsp.store.defStore.refreshInSec=0

ocsp.signing.certnickname={nickname}
ocsp.signing.tokenname={token}
ocsp.signing.defaultSigningAlgorithm={algorithm}
vouchd.signer.{nickname}.key=alias/{nickname}.key
vouchd.signer.{nickname}.certificate=alias/{nickname}.pem
"""


class OnToken(TypedDict):
    """What a signer on a token has beside its key: see NewSigner."""

    token: str
    passwords: dict[str, str]


@dataclass(frozen=True, slots=True)
class NewSigner:
    """The key that the instance will sign with; without a certificate a request for one (CSR) is written instead.

    `token` is where the key is, as CS.cfg has it; `passwords` are lines of password.conf that the key needs; `values`
    are keys of CS.cfg that whence it came decides, and `note` says so; `discard` takes back what was made for it
    elsewhere, when nothing comes of the instance.
    """

    key: PrivateKey
    algorithm: str
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()
    nickname: str = DEFAULT_NICKNAME
    token: str = INTERNAL
    passwords: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    discard: Callable[[], None] = lambda: None
    subject: x509.Name = field(
        default_factory=lambda: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OCSP Signing Certificate")])
    )


def create_instance(
    root: Path,
    signer: NewSigner,
    values: Mapping[str, str],
    finish: Callable[[Layout], None] = lambda _: None,
    *,
    set_up: bool = False,
) -> Layout:
    """Make the instance's folder at `root` (0700) with keys, settings and what `finish` puts into the draft.

    `values` are CS.cfg keys beyond the template's. When anything fails nothing is left behind. `set_up`: the folder is
    there, of an instance that is being set up, which becomes this one.

    Raises: AlreadyExists when `root` is there and not empty; ConfigError, SigningError; LifecycleError.
    """
    try:
        with new_folder(root, set_up=set_up) as draft:
            _fill(draft, signer, values)
            finish(draft)
    except BaseException:
        signer.discard()
        raise
    return Layout(root.absolute())


@contextmanager
def new_folder(root: Path, *, set_up: bool = False) -> Iterator[Layout]:
    """The draft (0700) of an instance's folder, which becomes `root` when the block ends and is gone when that raises.

    `set_up`: see `create_instance`. Raises: AlreadyExists when `root` is there and not empty; LifecycleError.
    """
    root = root.absolute()
    require_free(root, set_up=set_up)
    _remove_left_drafts(root)
    draft = root.with_name(f".{root.name}.{secrets.token_hex(4)}")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
        with _draft_lock(draft):
            for folder in Layout(draft).folders:
                folder.mkdir(mode=0o700)
            yield Layout(draft)
        if is_unconfigured(Layout(root)):
            _take_place(draft, Layout(root))
        else:
            draft.rename(root)  # also onto an empty folder
        sync_folder(root.parent)
    except OSError as error:
        raise LifecycleError(f"{root}: cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _take_place(draft: Path, unconfigured: Layout) -> None:
    """Put the draft in the place of an instance that is being set up, whose set-up's own files stay.

    CS.cfg goes last: by it the instance is one or the other. What was put there before a kill is replaced.
    """
    settings = unconfigured.cs_cfg
    for path in unconfigured.root.iterdir():
        if path not in {settings, unconfigured.setup}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in draft.iterdir():
        if path.name != settings.name:
            path.rename(unconfigured.root / path.name)
    sync_folder(unconfigured.root)
    (draft / settings.name).rename(settings)
    sync_folder(unconfigured.root)


def require_free(root: Path, *, set_up: bool = False) -> None:
    """Return when an instance can be made at `root`. Raises: AlreadyExists when it is there and not empty."""
    if set_up and is_unconfigured(Layout(root)):
        return
    if is_being_set_up(Layout(root)):
        raise AlreadyExists(f"{root}: this instance is being set up", hint="vouchd start opens its wizard")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise AlreadyExists(f"{root}: exists already", hint="choose another --instance DIR")


def _remove_left_drafts(root: Path) -> None:
    """Remove what a creation that was killed has left: drafts that no process holds."""
    for draft in root.parent.glob(f".{root.name}.[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]"):
        with suppress(OSError), _draft_lock(draft):
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _draft_lock(draft: Path) -> Iterator[None]:
    """The draft is in use while its process lives. Raises: OSError when another process holds it."""
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not acquired(descriptor):
            raise BlockingIOError(f"{draft} is in use")
        yield
    finally:
        os.close(descriptor)


def _fill(layout: Layout, signer: NewSigner, values: Mapping[str, str]) -> None:
    password = new_password()
    write_passwords(layout.password_conf, {INTERNAL: password, **signer.passwords})
    write_key(layout.alias / f"{signer.nickname}.key", signer.key, password)
    _write_certificates(layout, signer)
    chain = {f"vouchd.signer.{signer.nickname}.chain": f"alias/{signer.nickname}-chain.pem"} if signer.chain else {}
    text = _TEMPLATE.format(nickname=signer.nickname, algorithm=signer.algorithm, token=signer.token)
    config = cs_cfg.parse(text, str(layout.cs_cfg)).with_values({**chain, **signer.values, **values})
    write_new(layout.cs_cfg, config.render().encode(), 0o600)


def _write_certificates(layout: Layout, signer: NewSigner) -> None:
    if signer.certificate is None:
        request = certificate_request(Purpose.OCSP_SIGNING, signer.key, signer.subject)
        write_new(csr_path(layout, signer.nickname), request, 0o644)
        return
    pem = signer.certificate.public_bytes(Encoding.PEM)
    write_new(layout.alias / f"{signer.nickname}.pem", pem, 0o644)
    if signer.chain:
        chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in signer.chain)
        write_new(layout.alias / f"{signer.nickname}-chain.pem", chain, 0o644)


def csr_path(layout: Layout, nickname: str) -> Path:
    """Where the certificate request of a signer is."""
    return layout.alias / f"{nickname}.csr"
