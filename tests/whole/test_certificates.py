"""Certificates of a running instance are renewed while clients ask."""

from __future__ import annotations

import json
import threading

import pytest
from tests.whole.test_three_commands import Commands, of_our_own_ca

pytestmark = [pytest.mark.process, pytest.mark.interop]


@pytest.fixture
def running(tmp_path):
    """An instance with all its certificates from our own CA, answering."""
    with of_our_own_ca(tmp_path) as commands:
        yield commands


def ask(commands: Commands) -> dict:
    """What our own client is told of the certificate; it verifies signature, signer and chain."""
    return json.loads(commands.run("query", "--url", commands.url, "--issuer", "lab/ca.crt", "--json", "www.crt"))


def test_renew_of_a_running_instance_is_in_use_and_drops_no_request(running):
    """After `certs renew` the new signer answers; who asked meanwhile was answered too."""
    before = ask(running)
    over, failures, statuses = threading.Event(), [], []

    def keep_asking() -> None:
        while not over.is_set():
            try:
                statuses.append(ask(running)["answers"][0]["status"])
            except AssertionError as error:
                failures.append(error)

    client = threading.Thread(target=keep_asking)
    client.start()
    rows = json.loads(running.run("certs", "renew", "ocspSigningCert", "sslserver", "--ca", "lab", "--json"))
    over.set()
    client.join()
    after = ask(running)
    assert [row["state"] for row in rows] == ["in use", "in use"]
    assert failures == []
    assert set(statuses) == {"good"}
    assert before["responder"] != after["responder"]
