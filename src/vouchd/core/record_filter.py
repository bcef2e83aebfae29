"""A filter over the facts of a record (RFC 4515): equality, presence, and, or, not."""

from __future__ import annotations

from collections.abc import Mapping


def matches(text: str, facts: Mapping[str, str]) -> bool:
    """Whether a filter holds; names are those of `facts` in lower case. Raises: ValueError for what is no filter."""
    result, rest = _matched(text.strip(), facts)
    if rest:
        raise ValueError(f"what follows {text[: len(text) - len(rest)]!r} is no part of the filter")
    return result


def _matched(text: str, facts: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the filter at the beginning of `text` holds, and what follows it."""
    if not text.startswith("("):
        raise ValueError("a filter stands in parentheses, as (Outcome=Failure)")
    kind, rest = text[1:2], text[2:]
    if kind in {"&", "|", "!"}:
        results = []
        while rest.startswith("("):
            result, rest = _matched(rest, facts)
            results.append(result)
        if not rest.startswith(")") or not results or (kind == "!" and len(results) > 1):
            raise ValueError("a filter does not end")
        combined = not results[0] if kind == "!" else all(results) if kind == "&" else any(results)
        return combined, rest[1:]
    pair, end, rest = text[1:].partition(")")
    name, equals, value = pair.partition("=")
    if not end or not equals or not name.strip():
        raise ValueError("a filter has the form (NAME=VALUE)")
    fact = facts.get(name.strip().lower())
    return fact is not None and (value == "*" or fact.lower() == value.strip().lower()), rest
