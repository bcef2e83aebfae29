"""What came of a set-up, as its last panel and the command tell it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from vouchd.api.model import about
from vouchd.cloning.verdicts import read_verification
from vouchd.instance import lifecycle
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.setup.questionnaire import Answers


class Outcome(Struct, frozen=True):
    """An instance that was set up."""

    instance: Annotated[str, about("Its folder.")]
    role: Annotated[str, about("`master`, or `clone`.")]
    domain: Annotated[str, about("The security domain.")]
    listed: Annotated[str, about("The Certificate System's CA in whose domain it is listed; empty: in none.")]
    member: Annotated[str, about("HOST:PORT, as the domain knows it.")]
    ocsp: Annotated[str, about("Where clients ask.")]
    agents: Annotated[str, about("Where agents come in.")]
    process: Annotated[int | None, about("The process that serves it.")]
    database: Annotated[str, about("Where its facts are.")]
    exported: Annotated[str, about("The file with its keys; empty: none.")]
    browser: Annotated[str, about("The administrator's file; empty: there is none here.")]
    compared: Annotated[str, about("What the comparison of a clone with its master said; empty: it is none.")]


def outcome_of(layout: Layout, answers: Answers) -> Outcome:
    """What came of setting up the instance in this folder with these answers."""
    settings, here = read_settings(layout), answers.subsystem
    server = settings.directory.server if settings.directory else None
    database = f"{server.host}:{server.port}/{server.suffix} ({server.transport})" if server else "embedded"
    return Outcome(
        instance=str(layout.root),
        role="clone" if answers.is_clone else "master",
        domain=settings.of_set.domain,
        listed=answers.security_domain.url if answers.enters_certsystem else "",
        member=f"{here.host}:{here.agent_port}",
        ocsp=f"http://{here.host}:{here.port}/",
        agents=f"https://{here.host}:{here.agent_port}/",
        process=lifecycle.status(layout).pid,
        database=database,
        exported=answers.export_keys.path if answers.export_keys.kind == "file" else "",
        browser=str(layout.admin_pkcs12) if layout.admin_pkcs12.exists() and not answers.is_clone else "",
        compared=_compared(layout),
    )


def _compared(layout: Layout) -> str:
    verification = read_verification(layout.verification)
    if verification is None:
        return ""
    questions = sum(member.questions for member in verification.members)
    others = ", ".join(member.id for member in verification.members)
    if not verification.identical:
        return f"differs from {others}"
    return f"lists and {questions} answers are those of {others}, byte for byte"
