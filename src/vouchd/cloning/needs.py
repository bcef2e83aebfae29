"""What the use cases of the set need of an instance; `wiring` opens it, `api.services.Services` has it all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from vouchd.cloning.membership import Membership
from vouchd.cloning.registry import SecurityDomain
from vouchd.cloning.verdicts import Verification
from vouchd.core.facts import Caller
from vouchd.core.ports import AuditSink, Store
from vouchd.instance.certificates.backup import KeyBackup
from vouchd.instance.certificates.in_use import CertificatesInUse
from vouchd.instance.certificates.service import Certificates
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.permission import Permission
from vouchd.service.users import Users
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout


class MemberServices(Protocol):
    """The services over one instance's store, as far as the set is concerned."""

    @property
    def layout(self) -> Layout:
        """Where the instance lies."""

    @property
    def settings(self) -> Settings:
        """Its settings."""

    @property
    def in_use(self) -> CertificatesInUse:
        """The files of its own certificates that it goes by."""

    @property
    def store(self) -> Store:
        """Its facts."""

    @property
    def authorities(self) -> Authorities:
        """The CAs it answers for."""

    @property
    def indexing(self) -> Indexing:
        """What makes indexes of its epochs."""

    @property
    def users(self) -> Users:
        """Who may come to its agent port."""

    @property
    def certificates(self) -> Certificates:
        """Its own certificates."""

    @property
    def keys(self) -> KeyBackup:
        """Its keys in PKCS #12."""

    @property
    def audit(self) -> AuditSink:
        """Where its acts are recorded."""

    @property
    def permission(self) -> Permission:
        """What decides who may do what."""

    @property
    def caller(self) -> Caller:
        """Who works on its folder."""

    @property
    def domain(self) -> SecurityDomain:
        """The registry of its set."""

    @property
    def membership(self) -> Membership:
        """It as a member."""

    def ingest_lock(self) -> AbstractContextManager[None]:
        """The lock to hold while a CRL is taken in."""


OpenServices = Callable[[Layout], AbstractContextManager[MemberServices]]
OpenStore = Callable[[Layout, Settings], Store]
Say = Callable[[str], None]
CheckInstance = Callable[[Layout, Say], object]
Compare = Callable[[Layout], Verification]
