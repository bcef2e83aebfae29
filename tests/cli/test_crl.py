"""`vouchd crl add | list | show | quarantine` on an instance that does not run."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest
from cryptography import x509
from cryptography.x509 import ReasonFlags
from tests.pki import CA, HOUR

from vouchd.cli.main import main


def listed(capsys, *verb):
    capsys.readouterr()
    assert main(["crl", *(verb or ("list",)), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("pem", [False, True])
def test_add_stores_the_crl_and_tells_how_to_start(instance, capsys, pem):
    """A CRL in DER or PEM is stored; without a running instance the next step is told."""
    assert main(["crl", "add", instance.crl("a.crl", {1: None, 2: ReasonFlags.superseded}, pem=pem), "--json"]) == 0
    captured = capsys.readouterr()
    (shown,) = json.loads(captured.out)
    assert (shown["ca"], shown["crl_number"], shown["entries"], shown["served"]) == ("CN=Site CA", 1, 2, False)
    assert "vouchd start" in captured.err
    (point,) = listed(capsys)
    assert (point["scope"], point["kind"], point["state"]) == ("complete", "full", "fresh")


def test_add_reads_standard_input(instance, capsys, monkeypatch):
    """`-` is standard input, as for a pipe from curl."""
    instance.crl("a.crl")
    data = (instance.folder / "a.crl").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["crl", "add", "-"]) == 0
    assert len(listed(capsys)) == 1


def test_add_several_crls_in_one_pem_file(instance, capsys):
    """A PEM file may hold a full CRL and its delta."""
    instance.crl("full.pem", pem=True)
    instance.crl("delta.pem", {5: None}, pem=True, base=1)
    both = (instance.folder / "full.pem").read_bytes() + (instance.folder / "delta.pem").read_bytes()
    (instance.folder / "both.pem").write_bytes(both)
    assert main(["crl", "add", instance.file("both.pem")]) == 0
    (point,) = listed(capsys)
    assert (point["kind"], point["crl_number"], point["entries"]) == ("delta", 2, 1)


def test_add_one_bad_file_does_not_stop_the_others(instance, capsys):
    """Every file is tried; the bad one is named and decides the exit code."""
    bad = instance.folder / "bad.crl"
    bad.write_bytes(b"\x30\x03abc")
    assert main(["crl", "add", str(bad), instance.crl("a.crl")]) == 65
    assert f"vouchd: {bad}: " in capsys.readouterr().err
    assert len(listed(capsys)) == 1


def test_add_same_crl_again_is_nothing_to_do(instance, capsys):
    """What is held already is not taken twice, and a nightly job stays green."""
    name = instance.crl("a.crl")
    main(["crl", "add", name])
    capsys.readouterr()
    assert main(["crl", "add", name]) == 0
    assert "held already" in capsys.readouterr().err


def test_add_crl_of_a_foreign_ca_names_its_issuer(instance, capsys):
    """A CRL of a CA that is not answered for is refused with the way to add the CA."""
    (instance.folder / "x.crl").write_bytes(CA.create("Stranger").crl())
    assert main(["crl", "add", instance.file("x.crl")]) == 65
    captured = capsys.readouterr().err
    assert "Stranger" in captured
    assert "vouchd authority add" in captured


def test_add_missing_file_is_told(instance, capsys):
    """A file that is not there is named."""
    assert main(["crl", "add", instance.file("no.crl")]) == 78
    assert "no.crl" in capsys.readouterr().err


def test_add_beyond_the_limit_is_refused(instance, capsys):
    """vouchd.crl.maxBytes bounds what is read."""
    config = instance.instance / "CS.cfg"
    config.write_text(config.read_text() + "vouchd.crl.maxBytes=1024\n")
    (instance.folder / "big").write_bytes(bytes(1025))
    assert main(["crl", "add", instance.file("big")]) == 78
    assert "larger than 1024 bytes" in capsys.readouterr().err


def test_show_writes_the_stored_bytes(instance, capsys):
    """The CRL in use can be had back, byte for byte."""
    name = instance.crl("a.crl")
    main(["crl", "add", name])
    assert main(["crl", "show", "CN=Site CA", "--out", instance.file("back.crl")]) == 0
    assert (instance.folder / "back.crl").read_bytes() == (instance.folder / "a.crl").read_bytes()


def test_show_file_tells_its_scope_without_an_instance(site, capsys):
    """A CRL in a file is shown before it is taken in: the scope's id is what `ca set --expected-scope` takes."""
    idp = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    assert main(["crl", "show", site.crl("users.crl", idp=idp), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["scope"]) == 64
    assert (shown["only"], shown["crl_number"], shown["indirect"]) == ("users", 1, False)


def test_show_without_crl_is_told(instance, capsys):
    """A CA without a CRL is told apart from no CA."""
    assert main(["crl", "show", "CN=Site CA"]) == 66
    assert "has no CRL" in capsys.readouterr().err


@pytest.fixture
def suspect(instance, capsys):
    """An instance with a CRL of four entries in use, and one held back that lost all of them."""
    main(["ca", "set", "CN=Site CA", "--quarantine-percent", "50"])
    main(["crl", "add", instance.crl("a.crl", dict.fromkeys(range(1, 5)))])
    now = int(time.time())
    assert main(["crl", "add", instance.crl("b.crl", this_update=now - HOUR // 2)]) == 75
    return instance


def test_quarantine_list_tells_why(suspect, capsys):
    """A CRL that is held back is listed with its number and the reason; the one before stays in use."""
    (shown,) = listed(capsys, "quarantine", "list")
    assert (shown["ca"], shown["crl_number"]) == ("CN=Site CA", 2)
    assert shown["why"]
    assert listed(capsys)[0]["crl_number"] == 1


def test_quarantine_release_takes_the_crl(suspect, capsys):
    """A released CRL is the one in use, and quarantine is empty."""
    assert main(["crl", "quarantine", "release", "CN=Site CA"]) == 0
    assert listed(capsys)[0]["crl_number"] == 2
    assert listed(capsys, "quarantine", "list") == []


def test_quarantine_drop_forgets_the_crl(suspect, capsys):
    """A dropped CRL is gone, and the one in use stays."""
    assert main(["crl", "quarantine", "drop", "CN=Site CA"]) == 0
    assert listed(capsys)[0]["crl_number"] == 1
    assert listed(capsys, "quarantine", "list") == []


@pytest.mark.parametrize("verb", ["release", "drop"])
def test_quarantine_without_crl_is_told(instance, capsys, verb):
    """There must be something to decide."""
    assert main(["crl", "quarantine", verb, "CN=Site CA"]) == 66
