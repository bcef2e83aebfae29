"""The way of a CRL as spans: each step once, all in the trace that the CRL itself names, and none where it is off."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.commands import run_python
from tests.pki import DAY, HOUR, NOW
from tests.processes.test_publication import Site
from tests.service.recording import PUBLISHER, RecordingAudit

from vouchd.clock import SystemClock
from vouchd.errors import CRLForked
from vouchd.index.folder import IndexFolder
from vouchd.processes.publication import ManifestPublication
from vouchd.service.admitting import Admitting, Served
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission
from vouchd.service.tracing import NO_TRACING, TraceId, WorkersTrace
from vouchd.wiring.tracing import OpenTelemetryTracing


class Member:
    """Spans of one member, kept in memory."""

    def __init__(self, name: str) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = OpenTelemetryTracing(name, SimpleSpanProcessor(self.exporter))

    def spans(self):
        """Those since it was asked last."""
        finished = self.exporter.get_finished_spans()
        self.exporter.clear()
        return finished

    def steps(self) -> list[str]:
        return [span.name for span in self.spans()]


@pytest.fixture
def member():
    return Member("ocsp1.example:8443")


@pytest.fixture
def site(tmp_path, member):
    """A CA whose CRLs are taken in, published and traced."""
    made = Site(tmp_path)
    audit = RecordingAudit()
    made.ingesting = Ingesting(made.store, made.indexing, Permission(audit), audit, tracing=member.tracing)
    made.publication = published_with(made.store, made.indexing, tmp_path, member)
    made.publication.publish()
    made.accept(1)
    made.publication.publish()
    answer(made.publication)
    member.spans()
    return made


def answer(publication: ManifestPublication) -> None:
    """The only worker answers from what was published."""
    publication.workers_trace.look([(0, publication.state.version)])


def published_with(store, indexing, folder, member) -> ManifestPublication:
    @contextmanager
    def quiet():
        yield True

    return ManifestPublication(store, indexing, folder, quiet, tracing=member.tracing)


def test_steps_of_a_crl_are_spans_of_the_trace_that_it_names(site, member):
    """Whoever has the CRL knows its trace: the id comes from its SHA-256, so nothing has to be handed on."""
    site.accept(2, 5)
    site.publication.publish()
    answer(site.publication)
    spans = member.spans()
    assert [span.name for span in spans] == ["judged", "indexed", "stored", "received", "published", "answered"]
    (epoch,) = site.store.epochs()
    named = TraceId.of(epoch.newest.sha256)
    assert {span.context.trace_id for span in spans} == {named.trace}
    assert {span.parent.span_id for span in spans} == {named.parent}
    assert {span.attributes["crl.sha256"] for span in spans} == {epoch.newest.sha256}
    assert {span.attributes["crl.member"] for span in spans} == {"ocsp1.example:8443"}
    assert all(span.start_time <= span.end_time for span in spans)


def test_crl_that_is_refused_tells_where(site, member):
    """The span of the step that refused it is an error, and so is the one around it; nothing comes after."""
    with pytest.raises(CRLForked):
        site.accept(1)
    spans = {span.name: span for span in member.spans()}
    assert set(spans) == {"judged", "received"}
    assert all(span.status.status_code is StatusCode.ERROR for span in spans.values())


def test_member_that_reads_it_from_the_store_follows_in_the_same_trace(site, member, tmp_path):
    """What another member took in is judged by this one, too: its spans stand beside those of the other."""
    other = Member("ocsp2.example:8443")
    folder = tmp_path / "other"
    folder.mkdir()
    admitting = Admitting(lambda: Served({}, verified=True), SystemClock(), other.tracing)
    publication = published_with(site.store, Indexing(site.store, IndexFolder(folder), admitting), folder, other)
    publication.publish()
    assert other.steps() == ["followed"]
    site.accept(2, 5)
    publication.publish()
    answer(publication)
    theirs, ours = other.spans(), member.spans()
    assert [span.name for span in theirs] == ["followed", "published", "answered"]
    assert {span.context.trace_id for span in (*theirs, *ours)} == {theirs[0].context.trace_id}
    assert {span.resource.attributes["service.instance.id"] for span in theirs} == {"ocsp2.example:8443"}


def test_each_worker_is_told_once_when_it_answers_from_the_crl(member):
    """The last worker is the one whose span ends last; a worker that went on to a newer manifest answers from it too."""
    trace, crl = WorkersTrace(member.tracing), "ab" * 32
    trace.publish(7, [crl])
    trace.look([(0, 6), (1, 6)])
    assert member.steps() == []
    trace.look([(0, 7), (1, 6)])
    trace.look([(0, 7), (1, 6)])
    assert [span.attributes["crl.worker"] for span in member.spans()] == [0]
    trace.look([(0, 7), (1, 8), (1, 6)])
    assert member.steps() == []
    trace.look([(0, 8), (1, 8)])
    assert [span.attributes["crl.worker"] for span in member.spans()] == [1]
    trace.look([(0, 8), (1, 8), (2, 8)])
    assert member.steps() == []


def test_publication_without_a_new_crl_has_no_spans(site, member):
    """A change of a policy is no CRL's way, and CRLs that were served before are not told again."""
    site.publication.publish()
    site.publication.suspect_all(manifest=True)
    site.publication.publish()
    assert member.steps() == []


def test_tracing_that_is_off_keeps_and_loads_nothing(tmp_path):
    """Nobody who does not want it pays for it: no library is loaded, nothing is remembered."""
    trace = WorkersTrace(NO_TRACING)
    trace.publish(1, ["ab" * 32])
    assert vars(trace)["_waiting"] == {}
    code = "import sys, vouchd.wiring.manager, vouchd.wiring.tracing\nprint([n for n in sys.modules if 'opentelemetry' in n])"
    assert run_python(code).stdout.strip() == "[]"


def test_crls_of_a_batch_are_traced_one_by_one(site, member):
    """What is committed together has a trace for each CRL."""
    crl = site.ca.crl({9: None}, number=9, this_update=NOW - HOUR + 9, next_update=NOW + DAY)
    site.ingesting.accept_all([(crl, "push")], PUBLISHER, NOW)
    assert member.steps() == ["judged", "indexed", "stored", "received"]
