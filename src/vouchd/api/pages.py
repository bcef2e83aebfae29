"""Long lists in pages: which part of a list a call asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from msgspec import Meta, Struct

from vouchd.api.model import about
from vouchd.errors import NotFound

MOST = 1000
GONE = {404: "What the part follows is not in the list any more."}

T = TypeVar("T")


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list."""

    after: Annotated[
        Annotated[str, Meta(max_length=300)],
        about("Only what follows this one, the last of the page before: the id of a CA, or CA_ID/SCOPE.", ""),
    ] = ""
    limit: Annotated[
        Annotated[int, Meta(ge=1, le=MOST)], about("At most so many. A page with fewer is the last one.", 100)
    ] = MOST


def page_of(every: Sequence[T], name: Callable[[T], str], page: Page) -> Sequence[T]:
    """The part that is asked for. Raises: NotFound when the item that it follows is not there any more."""
    begin = 0
    if page.after:
        names = [name(one) for one in every]
        if page.after not in names:
            raise NotFound(f"the list has no {page.after[:100]!r} any more", hint="begin with the first page again")
        begin = names.index(page.after) + 1
    return every[begin : begin + page.limit]
