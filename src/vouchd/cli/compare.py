"""`vouchd compare`: the same questions to this instance and to another responder, and what differs and why."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.api.services import Services
from vouchd.cli import output
from vouchd.cli.clone.verify import DIFFERENT, serials_of
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption, spread
from vouchd.client.transport import Connection
from vouchd.cloning.comparison import Probe
from vouchd.cloning.expectations import EXPECTATIONS, WORDS
from vouchd.cloning.probing import SAMPLE
from vouchd.core.status import ServingState
from vouchd.errors import ConfigError, LifecycleError
from vouchd.files import PUBLIC, read_file, replace_file
from vouchd.instance.report import read_report
from vouchd.migration.captures import recorded_requests
from vouchd.migration.shadow import Shadowing, Tally, listed, replayed, sampled, signed, verified
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.software import SoftwareSigner
from vouchd.wiring import services as wiring

_COUNT = 1000  # questions drawn, where nobody says another number
_TIMEOUT_SECONDS = 30.0  # for one answer of the other responder
_STATE_SECONDS = 2.0  # for so long what is served is not looked at again
_MAX_REPORT_BYTES = 1 << 24
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class QuestionOptions:
    """What is asked: what clients have asked, some serials, or certificates that are drawn."""

    shadow: Annotated[
        Path | None,
        typer.Option(
            "--shadow", metavar="PCAP|LOG|DIR", help="Ask what clients have asked: a capture, an access log, a folder."
        ),
    ] = None
    serial: Annotated[
        list[str] | None,
        typer.Option("--serial", metavar="HEX", help="Ask about this one of every CA; repeatable."),
    ] = None
    sample: Annotated[
        int, typer.Option("--sample", min=1, max=10000, help="Certificates of each kind and CA that are drawn a round.")
    ] = SAMPLE
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Questions at most; default: 1000, or all that are recorded.")
    ] = None
    hours: Annotated[float | None, typer.Option("--hours", min=0, help="Go on for so long.")] = None

    def probes(self, state: Callable[[], ServingState]) -> Iterator[Probe]:
        """The questions, one after the other."""
        if self.shadow is not None:
            return replayed(state(), recorded_requests(self.shadow))
        chosen = serials_of(tuple(self.serial or ()))
        return listed(state(), chosen) if chosen else sampled(state, self.sample)

    @property
    def limit(self) -> int | None:
        """How many there are at most; None: all that are recorded, or as many as there is time for."""
        drawn = self.shadow is None and not self.serial
        return self.count if self.count is not None or not drawn or self.hours is not None else _COUNT


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """How fast is asked, and what is left unexplained at once."""

    rate: Annotated[float, typer.Option("--rate", min=0.01, max=10000, help="Questions a second at most.")] = 20
    settle: Annotated[
        float, typer.Option("--settle", min=0, metavar="SECONDS", help="Ask again for so long what is unexplained.")
    ] = 10
    unexpected: Annotated[
        list[str] | None,
        typer.Option("--unexpected", metavar="NAME", help="An expectation that explains nothing here; repeatable."),
    ] = None

    def names(self) -> frozenset[str]:
        """The expectations that explain nothing. Raises: ConfigError."""
        names = frozenset(self.unexpected or ())
        if unknown := names - WORDS.keys():
            raise ConfigError(
                f"no expectation {min(unknown)!r}", hint="one of " + ", ".join(one.name for one in EXPECTATIONS)
            )
        return names


@spread
def compare(
    url: Annotated[str, typer.Option("--with", metavar="URL", help="The other responder's OCSP URL.")] = "",
    instance: InstanceOption = DEFAULT_INSTANCE,
    *,
    questions: QuestionOptions,
    pace: PaceOptions,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the whole report there, signed.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Show such a report, if its signature is right.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", metavar="FILE", help="Keep counts there for a node exporter.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Ask this instance and another responder the same, in every form, and tell what differs and why.

    Each answer is equal, different as expected with the expectation named, or different and unexplained. What is
    unexplained is asked again, for a CRL may be on its way. Ends with 4 when anything is left unexplained.

    Example: vouchd compare --with http://old.example.com:8080/ocsp/ee/ocsp --shadow clients.pcap --report shadow.json
    """
    if check is not None:
        document, certificate = verified(read_file(check, _MAX_REPORT_BYTES, error=ConfigError))
        output.note(f"signed by {certificate.subject.rfc4514_string()}")
        _show(dict(document), json_output=json_output)
        return
    names = pace.names()
    if not url:
        raise ConfigError("the other responder is not named", hint="--with URL")
    layout = Layout(instance.absolute())
    running = read_report(layout.serving)
    if running is None:
        raise LifecycleError("this instance does not run", hint="vouchd start")
    other = Connection(url, timeout_seconds=_TIMEOUT_SECONDS)
    with wiring.services(layout) as services, Connection(running.ee_url) as ours, other as theirs:
        signer = _signer(layout, services) if report is not None else None  # before hours of work are lost
        state = _kept_state(services)
        shadowing = Shadowing(
            ours,
            theirs,
            services.clock,
            state,
            rate=pace.rate,
            settle_seconds=pace.settle,
            unexpected=names,
            progress=partial(_keep_counts, metrics),
        )
        probes = questions.probes(state)
        with _ending_early(shadowing):
            hours = questions.hours
            tally = shadowing.run(probes, questions.limit, None if hours is None else hours * 3600)
        record = {"ours": running.ee_url, "theirs": url, **tally.record(services.clock.now())}
        if report is not None and signer is not None:
            replace_file(report, json.dumps(signed(record, signer), indent=2).encode(), PUBLIC)
    _show(record, json_output=json_output)
    if tally.unexplained:
        raise typer.Exit(DIFFERENT)


def _keep_counts(metrics: Path | None, tally: Tally) -> None:
    if metrics is not None:
        replace_file(metrics, tally.metrics().encode(), PUBLIC)


def _kept_state(services: Services) -> Callable[[], ServingState]:
    """What is served now, looked at every other second: a question costs less than reading the manifest."""
    kept: list[tuple[float, ServingState]] = []

    def state() -> ServingState:
        now = time.monotonic()
        if not kept or now - kept[0][0] > _STATE_SECONDS:
            kept[:] = [(now, services.running.state())]
        return kept[0][1]

    return state


@contextmanager
def _ending_early(shadowing: Shadowing) -> Iterator[None]:
    """SIGTERM and Ctrl-C end it with a report of what came so far."""

    def stop(_number: int, _frame: object) -> None:
        shadowing.stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signer(layout: Layout, services: Services) -> SoftwareSigner:
    """The key of the audit log, whether it signs the log or not. Raises: ConfigError, SigningError."""
    files = services.settings.audit_signing
    if not files.installed:
        raise ConfigError(
            "the report cannot be signed: the audit log has no key",
            hint="vouchd certs list; without --report it is shown",
        )
    password = read_passwords(layout.password_conf).get(INTERNAL)
    return SoftwareSigner.load("audit_signing", files.key_file, files.certificate_file, password)


def _show(record: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        output.as_json(record)
        return
    names = ("ours", "theirs", "began_at", "at", "questions", "equal", "expected", "unexplained", "settled")
    output.fields({name.replace("_", " "): record.get(name) for name in names})
    output.say("")
    output.table(
        ["expected because of", "count", "what it is"],
        [(one["name"], one["count"], one["about"]) for one in record["expectations"]],
        empty="nothing differs as expected",
    )
    rows = [
        (one["kind"], one["authority"], one["way"], each["field"], each["ours"], each["theirs"], one["count"])
        for one in record["examples"][:_SHOWN]
        for each in one["differences"]
        if not each["expectation"]
    ]
    if rows:
        output.say("\nUnexplained:")
        output.table(["certificate", "CA", "asked by", "field", "here", "there", "count"], rows)
