"""The way of a CRL through a set, as an OTLP receiver hears of it: from the command to the last worker of the clone."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.processes.running import eventually
from tests.whole.clones import clone_set

from vouchd.instance.configuration import write_values

pytestmark = pytest.mark.process

STEPS = Counter(
    {
        ("m", "received"): 1,
        ("m", "judged"): 1,
        ("m", "indexed"): 1,
        ("m", "stored"): 1,
        ("m", "published"): 1,
        ("m", "answered"): 1,
        ("c", "followed"): 1,
        ("c", "published"): 1,
        ("c", "answered"): 1,
    }
)


class Receiver:
    """A collector on loopback; `traces` are the steps of each trace, by the port of the member."""

    def __init__(self) -> None:
        self.traces: dict[str, Counter[tuple[str, str]]] = {}
        self.names: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            member = self.names[about["service.instance.id"].rpartition(":")[2]]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                with self._lock:
                    self.traces.setdefault(span.trace_id.hex(), Counter())[member, span.name] += 1

    def whole(self) -> list[str]:
        """The traces that have every step."""
        with self._lock:
            return [trace for trace, steps in self.traces.items() if steps == STEPS]


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """A receiver, and its URL."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver, f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()


def test_way_of_a_crl_is_one_trace_from_the_command_to_the_last_worker_of_the_clone(tmp_path):
    """Each process of each member says its part, and the CRL's own hash brings the parts together."""
    with receiving() as (receiver, url), clone_set(tmp_path) as made:
        made.make_prepared()
        made.run(*made.create("c"))
        receiver.names = {str(ports[1]): name for name, ports in made.ports.items()}
        for name in ("m", "c"):
            write_values(made.layout(name), {"vouchd.tracing.endpoint": url})
            made.run("restart", "--instance", name)
        made.revoke("good")
        made.publish("m")
        (trace,) = eventually(receiver.whole, lambda: f"a whole trace; there are {receiver.traces}")
        shown = made.json("crl", "show", "CN=Lab CA", "--instance", "c")
    assert json.dumps(shown).count(f'"{trace}') == 1
