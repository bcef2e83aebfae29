"""The last act of the set-up: the operations and steps that the commands run, one after the other, with these answers.

Each step may be cut short and is done again; what was done is in the journals of the clone's creation and of the
set-up. Nothing here makes anything by itself.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from vouchd.agent.pages.acts import carry_out
from vouchd.api.certificates import Installation
from vouchd.api.cloning import Preparation
from vouchd.api.directory_server import DirectoryToUse
from vouchd.api.keys import Backup
from vouchd.api.services import Services
from vouchd.cloning.certsystem_entry import enter_domain
from vouchd.cloning.client import address_of
from vouchd.cloning.clone_creation import CloneCreation, ClonePlan
from vouchd.cloning.instance_creation import InstanceCreation, InstancePlan
from vouchd.cloning.needs import CheckInstance, Compare, Say
from vouchd.cloning.steps import Step, journal_of, run_steps
from vouchd.core.facts import Transport
from vouchd.errors import LifecycleError, RefusedForNow
from vouchd.files import PRIVATE, read_file, replace_file
from vouchd.instance import lifecycle
from vouchd.instance.certificates.certsystem_enrolment import CertificateSystemEnrolment
from vouchd.instance.certificates.enrolment import enrol
from vouchd.instance.certificates.places import ADMIN, pending_requests, system_certificates
from vouchd.instance.configuration import write_values
from vouchd.instance.lifecycle import manager_command
from vouchd.instance.unconfigured import is_configured
from vouchd.pkix.purposes import Purpose
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import read_passwords, replace_passwords
from vouchd.settings.reading import read_settings
from vouchd.settings.signing_keys import EnrolmentWay, RenewalSettings
from vouchd.setup.checks import Checks, named_authorities
from vouchd.setup.plans import (
    ENROLMENT_SECONDS,
    bind_certificate,
    certsystem_domain,
    certsystem_requests,
    directory_of,
    host_path,
    host_values,
    maybe_path,
    server_url,
    signer_source,
    token_of,
)
from vouchd.setup.questionnaire import Answers, Requests
from vouchd.setup.state import EXPORTED, own_journal

_ENROLLING = frozenset({"est", "certsystem"})
_DOMAIN = "domain"  # kept in the journal: the name of the Certificate System's domain
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Tools:
    """What `wiring` puts together for the operations and steps; `creation` tells its argument of progress."""

    services: Callable[[Layout], AbstractContextManager[Services]]
    creation: Callable[[Say], InstanceCreation]
    check: CheckInstance
    compare: Compare


class Request(NamedTuple):
    """A certificate request that waits for its certificate."""

    name: str
    purpose: Purpose
    path: Path


class CarryingOut:
    """Carries the answers out in the folder `layout`; `say` is told of progress.

    `plan` are the names of the steps with what each is about, once it has begun.
    """

    def __init__(self, layout: Layout, answers: Answers, checks: Checks, tools: Tools, say: Say) -> None:
        self._layout = layout
        self._answers = answers
        self._checks = checks
        self._tools = tools
        self._say = say
        self._journal = own_journal(layout)
        self.plan: tuple[tuple[str, str], ...] = ()

    def run(self) -> None:
        """Do what was not done. Raises: what a step raises; another run goes on with that step."""
        creation = self._clone if self._answers.is_clone else None
        cloning = tuple(self._with_enrolment(creation.steps())) if creation is not None else ()
        own = self._own_steps()
        self.plan = tuple((step.name, step.about) for step in (*cloning, *own))
        if creation is not None:
            run_steps(cloning, creation.journal, self._say)
        run_steps(own, self._journal, self._say)

    def _own_steps(self) -> tuple[Step, ...]:
        """What is done besides the steps of a clone's creation."""
        export = Step("export", "back up the keys", self._export)
        if self._answers.is_clone:
            return (export,) if self._answers.export_keys.kind == "file" else ()
        directory = self._answers.internal_database.kind == "directory"
        enters = self._answers.enters_certsystem
        return (
            Step("create", "make the instance with its keys", self._create),
            Step("certificates", "have the keys certified", self._certify),
            *((Step("database", "move to the directory server", self._use_directory),) if directory else ()),
            Step("export", "make the domain, and back up the keys", self._export),
            Step("administrator", "make the file for the administrator's browser", self._administrator),
            *((Step("enter", "enter the Certificate System's domain", self._enter),) if enters else ()),
            Step("start", "start it", self._start),
        )

    # A new subsystem.

    def _create(self) -> None:
        if is_configured(self._layout):  # and nobody had noted it
            return
        answers = self._answers
        names, requests = answers.subject_names, answers.requests
        ca = host_path(requests.ca, "folder of our CA") if requests.kind == "ca" else None
        source = signer_source(self._layout, answers)
        values = host_values(answers) | {"securitydomain.name": self._domain_name()}
        server_names = names.server_names.split() or [answers.subsystem.host]
        known = named_authorities(answers)
        plan = InstancePlan(self._layout.root, source, known, values, server_names, ca, set_up=True)
        self._tools.creation(self._say).make(plan)

    def _certify(self) -> None:
        if self._answers.requests.kind in _ENROLLING:
            self._enrol()
        waiting = waiting_requests(self._layout)
        if waiting:
            raise LifecycleError(
                f"certificates have not come yet: {', '.join(one.name for one in waiting)}",
                hint="have your CA certify the requests, and put its certificates in at Requests and Certificates",
            )

    def _use_directory(self) -> None:
        database = self._answers.internal_database
        with self._tools.services(self._layout) as services:
            if services.settings.directory is not None:  # and nobody had noted it
                return
            directory = directory_of(database, replica_id=1)
            body = DirectoryToUse(
                url=server_url(database),
                manager=database.manager,
                password=database.password,
                starttls=directory.server.transport is Transport.STARTTLS,
                trust_file=database.trust,
                client_certificate=bind_certificate(database),
                domain=self._domain_name(),
            )
            for note in self._operation(services, "directory_server.use", body).notes:
                self._say(note)

    def _export(self) -> None:
        """The keys in a file; of a new domain's first member by the operation that makes the domain."""
        export = self._answers.export_keys
        password = export.password if export.kind == "file" else None
        with self._tools.services(self._layout) as services:
            if self._answers.is_clone:
                content = self._operation(services, "keys.backup", Backup(password=export.password)).pkcs12
            elif password is None and not self._answers.on_token:
                return  # a key in a file is needed by a clone: `vouchd clone prepare` makes the domain with it
            else:
                domain, host = self._domain_name(), self._answers.subsystem.host
                body = Preparation(password=password, host=host, domain=domain)
                content = self._operation(services, "cloning.prepare", body).pkcs12
        if password is not None:
            self._journal.keep({EXPORTED: export.path})  # so that the next run knows it for its own
            replace_file(host_path(export.path, "where the file goes"), content, PRIVATE)

    def _administrator(self) -> None:
        password = self._answers.administrator.password
        if not password:
            return
        with self._tools.services(self._layout) as services:
            made = self._operation(services, "keys.backup", Backup(password=password, names=[ADMIN]))
        replace_file(self._layout.admin_pkcs12, made.pkcs12, PRIVATE)
        self._layout.admin_password.unlink(missing_ok=True)

    def _domain_name(self) -> str:
        """The name of the domain: as it was typed, or as a Certificate System calls the one that it hosts."""
        if not self._answers.enters_certsystem:
            return self._answers.security_domain.name
        if _DOMAIN not in self._journal.kept():
            name = certsystem_domain(self._answers).hosts()[0]
            self._journal.keep({_DOMAIN: "".join(filter(str.isprintable, name))[:_LONGEST_NAME]})
        return self._journal.kept()[_DOMAIN]

    def _enter(self) -> None:
        domain = self._answers.security_domain
        with self._tools.services(self._layout) as services:
            known, host = certsystem_domain(self._answers), self._answers.subsystem.host
            entry = enter_domain(services, known, host, publish=domain.publish)
        self._say(f"enter: {entry.place} is listed in {entry.domain}")
        if domain.publish:
            self._say("enter: restart that CA, which takes up its publisher for this instance then")

    def _start(self) -> None:
        self._tools.check(self._layout, self._say)
        if not lifecycle.status(self._layout).ready:
            lifecycle.start(self._layout, manager_command(self._layout))

    # A clone.

    @cached_property
    def _clone(self) -> CloneCreation:
        return CloneCreation(
            self._clone_plan(), self._tools.services, self._tools.check, self._tools.compare, self._say
        )

    def _clone_plan(self) -> ClonePlan:
        answers = self._answers
        here, restore, database = answers.subsystem, answers.restore_keys, answers.internal_database
        master, fingerprint = self._master()
        source = token_of(self._layout, answers)
        directory = directory_of(database) if database.kind == "directory" else None
        token_values = {"ocsp.signing.tokenname": source.place.name} if source is not None else {}
        return ClonePlan(
            layout=self._layout,
            master=address_of(f"https://{master}"),
            fingerprint=fingerprint,
            token=answers.security_domain.token,
            pkcs12=host_path(restore.path, "PKCS #12 file") if source is None else None,
            pkcs12_password=restore.password,
            host=here.host,
            agent_port=here.agent_port,
            ee_port=here.port,
            values=host_values(answers) | token_values,
            ca=maybe_path(answers.requests.ca, "folder of our CA") if answers.requests.kind == "ca" else None,
            directory=directory,
            manager=(database.manager, database.password) if directory is not None else None,
            place=source.place if source is not None else None,
            set_up=True,
        )

    def _master(self) -> tuple[str, str]:
        """The member that is cloned, and its fingerprint; kept, since who has joined has no token to ask with."""
        kept = self._journal.kept()
        if not is_configured(self._layout):
            master = self._checks.master(self._answers)
            kept = {"master": master.id, "fingerprint": master.tls_sha256}
            self._journal.keep(kept)
        return kept["master"], kept["fingerprint"]

    def _with_enrolment(self, steps: tuple[Step, ...]) -> Iterator[Step]:
        """The steps of the creation; where a CA is asked from here, it is before the certificate is missed."""
        for step in steps:
            if step.name == "certificate" and self._answers.requests.kind in _ENROLLING:
                yield Step(step.name, step.about, lambda step=step: self._certify_clone(step))  # type: ignore[misc]
            else:
                yield step

    def _certify_clone(self, step: Step) -> None:
        try:
            step.run()
        except LifecycleError:  # there is a request now
            self._enrol()
            step.run()

    # Both.

    def _enrol(self) -> None:
        """Have the CA certify what waits; it is asked for the renewals of a signer that it certified, too.

        Raises: LifecycleError that names each request that the CA has not decided on yet.
        """
        requests, settings = self._answers.requests, read_settings(self._layout)
        renewal = self._renewal(requests, settings.default_signer)
        undecided = []
        for one in waiting_requests(self._layout):
            self._say(f"certificates: {one.name}, by {requests.url}")
            try:
                bundle = self._certified(one, renewal, settings)
            except RefusedForNow as error:
                self._say(f"certificates: {one.name}: {error}")
                undecided.append(one.name)
                continue
            install(self._layout, self._tools, one.name, as_text(bundle))
        if undecided:
            raise LifecycleError(
                f"{requests.url} has not decided yet on the requests of {', '.join(undecided)}",
                hint="once an agent of the CA has approved them there, try again",
            )
        if not self._answers.is_clone and not self._answers.restores_signer:
            self._keep(renewal)

    def _certified(self, one: Request, renewal: RenewalSettings, settings: Settings) -> bytes:
        csr = read_file(one.path)
        if renewal.way is EnrolmentWay.EST:
            return enrol(renewal, one.purpose, csr, settings, again=False)
        requests = self._answers.requests
        at_ca = CertificateSystemEnrolment(
            certsystem_requests(requests), self._layout.submitted_requests, requests.approve
        )
        return at_ca.enrol(csr, one.purpose, renewal.profile if one.purpose is Purpose.OCSP_SIGNING else "")

    def _renewal(self, requests: Requests, nickname: str) -> RenewalSettings:
        """How that CA renews the signer, with the user's password where it goes by one."""
        if requests.user:
            passwords = read_passwords(self._layout.password_conf)
            replace_passwords(self._layout.password_conf, passwords | {f"renewal.{nickname}": requests.password})
        at_certsystem = requests.kind == "certsystem"
        return RenewalSettings(
            nickname,
            EnrolmentWay.CERTSYSTEM if at_certsystem else EnrolmentWay.EST,
            timeout_seconds=ENROLMENT_SECONDS,
            url=requests.url,
            trust_file=maybe_path(requests.trust, "CAs of that server"),
            user=requests.user,
            profile=requests.profile if at_certsystem else "",
            approves=at_certsystem and requests.approve and bool(requests.user),  # an agent's file is not kept
        )

    def _keep(self, renewal: RenewalSettings) -> None:
        values = {"by": renewal.way.value, "url": renewal.url}
        values |= {"user": renewal.user} if renewal.user else {}
        values |= {"trust": str(renewal.trust_file)} if renewal.trust_file else {}
        values |= {"profile": renewal.profile} if renewal.profile else {}
        values |= {"approve": "true"} if renewal.approves else {}
        prefix = f"vouchd.renewal.{renewal.nickname}"
        write_values(self._layout, {f"{prefix}.{name}": value for name, value in values.items()})

    @staticmethod
    def _operation(services: Services, name: str, body: Any) -> Any:
        return carry_out(services, services.caller, name, {}, body=body)


def steps_done(layout: Layout) -> frozenset[str]:
    """The names of all steps that were done."""
    return own_journal(layout).done() | journal_of(layout).done()


def waiting_requests(layout: Layout) -> tuple[Request, ...]:
    """The requests whose certificates have not come; none before the instance is made."""
    if not is_configured(layout):
        return ()
    return tuple(
        Request(place.name, place.purpose, paths[-1])
        for place in system_certificates(read_settings(layout))
        if place.certificate is None and (paths := pending_requests(layout.alias, place.name))
    )


def as_text(certificates: bytes) -> str:
    """Certificates as operations take them: PEM, or base64 of what is binary."""
    try:
        return certificates.decode("ascii")
    except UnicodeDecodeError:
        return base64.b64encode(certificates).decode()


def install(layout: Layout, tools: Tools, name: str, certificate: str) -> None:
    """Take in a certificate of one of these requests: PEM, or base64 of DER or of PKCS #7. Raises: BadInput."""
    with tools.services(layout) as services:
        path, body = {"name": name}, Installation(certificate=certificate)
        carry_out(services, services.caller, "certificates.install", path, body=body)


def end_set_up(layout: Layout) -> None:
    """Take away what only the set-up needed, with its secrets: the instance is one like any other from now on."""
    shutil.rmtree(layout.setup)
