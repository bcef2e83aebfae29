"""The audit log of the program whose place an instance took: kept as it came, searched, borne out by our chain."""

from __future__ import annotations

import pytest
from tests.audit.auditing import Bench

from vouchd.audit.former import FormerLog, Unlike
from vouchd.audit.search import AuditQuery, AuditReader
from vouchd.core.facts import Caller
from vouchd.errors import AlreadyExists, ConfigError

OPERATOR = Caller("operator")
AUTHZ = (
    "0.exec-15 - [29/Nov/2026:01:53:51 UTC] [14] [6] [AuditEvent=AUTHZ][SubjectID=ocspadmin][Outcome=Success]"
    "[aclResource=certServer.ocsp.cas][Op=list] authorization success\n"
)
CONFIG_ACL = (
    "0.main - [29/Nov/2026:02:54:00 CET] [14] [6] [AuditEvent=CONFIG_ACL][SubjectID=ocspadmin][Outcome=Failure]"
    "[ParamNameValPairs=Scope;;acls+acl;;a[b]c\nsecond line] ACL configuration\n"
)
AUTH = (
    "0.main - [28/Nov/2026:22:25:00 -0330] [14] [6] [AuditEvent=AUTH][SubjectID=$Unidentified$][Outcome=Failure] no\n"
)


@pytest.fixture
def bench(tmp_path):
    """Our log, in which imports are recorded."""
    return Bench(tmp_path / "audit.jsonl")


@pytest.fixture
def source(tmp_path):
    """A file of theirs."""
    path = tmp_path / "ocsp_audit"
    path.write_text(AUTHZ + CONFIG_ACL)
    return path


@pytest.fixture
def former(tmp_path):
    """Nothing is kept yet."""
    return FormerLog(tmp_path / "former")


def test_former_log_is_kept_as_it_came_and_searched_by_what_ours_is(bench, source, former):
    """Every field is found, of a message over several lines too, in whatever zone it was written; newest first."""
    (kept,) = former.take([source], bench.log, OPERATOR)
    assert (former.folder / kept.name).read_bytes() == source.read_bytes()
    newest, oldest = former.search(AuditQuery())
    assert (oldest.event, oldest.outcome, oldest.caller, oldest.text) == (
        "AUTHZ",
        "success",
        "ocspadmin",
        "authorization success",
    )
    assert oldest.detail == {"aclResource": "certServer.ocsp.cas", "Op": "list"}
    assert newest.time - oldest.time == 9  # 02:54:00 CET is 01:54:00 UTC
    assert newest.detail["ParamNameValPairs"] == "Scope;;acls+acl;;a[b]c\nsecond line"
    for query in (
        AuditQuery(event="config_acl"),
        AuditQuery(outcome="failure"),
        AuditQuery(text="SECOND"),
        AuditQuery(since=newest.time),
    ):
        assert former.search(query) == (newest,)
    assert former.search(AuditQuery(until=oldest.time, caller="OCSPAdmin")) == (oldest,)
    assert former.search(AuditQuery(), skip=1) == (oldest,)
    assert former.search(AuditQuery(), limit=1) == (newest,)


def test_log_that_went_on_is_taken_again_and_only_what_is_new_is_recorded(bench, source, former):
    """At the cut-over the rest comes, also when the file was put aside there under another name meanwhile."""
    (first,) = former.take([source], bench.log, OPERATOR)
    assert not former.take([source], bench.log, OPERATOR)[0].new
    source.write_text(AUTHZ + CONFIG_ACL + AUTH)
    aside = source.rename(source.with_name("ocsp_audit.20261129"))
    (second,) = former.take([aside], bench.log, OPERATOR)
    assert (second.name, second.records, second.new) == (first.name, 3, True)
    assert former.search(AuditQuery())[0].time - former.search(AuditQuery())[1].time == 60
    imports = AuditReader(bench.path).search(AuditQuery(event="AUDIT_LOG_IMPORT"))
    assert [one.detail["records"] for one in imports] == [3, 2]
    assert former.unlike(AuditReader(bench.path)) == Unlike()


def test_copy_that_does_not_go_on_from_the_kept_one_is_refused(bench, source, former):
    """Nobody exchanges what was kept by importing another one."""
    former.take([source], bench.log, OPERATOR)
    source.write_text(AUTHZ + AUTH)
    with pytest.raises(AlreadyExists, match="does not go on"):
        former.take([source], bench.log, OPERATOR)


@pytest.mark.parametrize("text", ["", "no log\n", "no log\n" + AUTHZ])
def test_file_that_is_no_such_log_is_refused(bench, source, former, text):
    """What is searched later is an audit log, or is not there."""
    source.write_text(text)
    with pytest.raises(ConfigError, match="no audit log"):
        former.take([source], bench.log, OPERATOR)
    assert not former.folder.exists()


def test_change_of_a_kept_file_is_seen(bench, source, former):
    """Our chain says what came: a file that is another one now, is gone, or was put in is named."""
    (kept,) = former.take([source], bench.log, OPERATOR)
    path, reader = former.folder / kept.name, AuditReader(bench.path)
    path.write_text(AUTHZ)
    assert former.unlike(reader) == Unlike(changed=(kept.name,))
    path.rename(path.with_name("other.log"))
    assert former.unlike(reader) == Unlike(lost=(kept.name,), unnamed=("other.log",))
