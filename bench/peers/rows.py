"""The table's rows of what was measured, ours first, and of what was not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.figures import Figure
from bench.peers.measuring import QUESTIONS, Answers, Result
from bench.peers.peer import ENTRIES

KEYS = {"EC": "P-256", "RSA": "RSA-2048"}

# Real responders that cannot be measured here, by what kept them away and since when.
ELSEWHERE = {
    "XiPKI": "not installed: it comes as an archive of its own project. Known of another machine, November 2026: "
    "cold P-256 6,600/s at 16 connections, where vouchd, before its templates, made 4,500/s; 84 s until "
    "1,000,000 entries are answered",
    "Boulder": "its releases have no ocsp-responder any more (looked at: 0.20251110.0)",
    "ocsp-server (Rust)": "it answers from a table of all certificates in a MariaDB, which is not set up here",
    "ocspresponder (Python)": "its part oscrypto 1.3.0 cannot read the version of an OpenSSL from 3.0.10 on",
}


def rows(results: Sequence[Result], key: str) -> list[Figure]:
    """Processor time of an answer by question, then memory, then the list; ours is the first result."""
    made = [_absent(f"{one.name}, {KEYS[key]}", one.absence) for one in results if one.absence]
    present = [one for one in results if not one.absence]
    for question in QUESTIONS:
        ours = results[0].answers.get(question.what)
        made += [_answers(question.what, one, key, ours) for one in present]
    for one in present:
        detail = f"version {one.version}; PSS of all its processes, after the questions"
        made.append(Figure(f"memory, {KEYS[key]}: {one.name}", one.memory_mib, 0, "MiB", detail))
    for one in present:
        what = f"list of {ENTRIES:,} revoked until answered, {KEYS[key]}: {one.name}"
        made.append(Figure(what, one.list_seconds, 0, "s", one.listing))
    return made


def elsewhere() -> list[Figure]:
    """A row for each responder that cannot be measured here, with the reason."""
    return [_absent(name, why) for name, why in ELSEWHERE.items()]


def _absent(what: str, why: str) -> Figure:
    return Figure(what, math.nan, 0, "", f"not measured: {why}")


def _answers(question: str, one: Result, key: str, ours: Answers | str | None) -> Figure:
    what, answers = f"{question}, {KEYS[key]}: {one.name}", one.answers[question]
    if isinstance(answers, str):
        return _absent(what, answers)
    words = [f"{answers.rate:.0f}/s", f"p50 {answers.p50_ms:.1f} ms, p99 {answers.p99_ms:.1f} ms"]
    if isinstance(ours, Answers) and ours is not answers:
        words.insert(0, f"{answers.cpu_us / ours.cpu_us:.1f} times ours")
    return Figure(what, answers.cpu_us, 0, "us", "; ".join([f"CPU; {words[0]}", *words[1:], *filter(None, [one.note])]))
