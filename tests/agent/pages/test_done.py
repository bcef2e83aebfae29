"""What a page says was done was said by us."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp.test_utils import make_mocked_request

from vouchd.agent.pages.rendering import done_text, see_done

TEXT = "The CA \u201cLab & Co\u201d was added."


def test_done_comes_back_with_the_browser():
    """The text of a form that has done its work is shown on the page that the browser is sent to."""
    location = see_done("/agent/authorities/" + quote("an id"), TEXT).headers["Location"]
    assert done_text(make_mocked_request("GET", location)) == TEXT


def test_done_of_a_link_from_elsewhere_is_not_shown():
    """No link puts words into the page's mouth: not without a seal, nor with that of other words or of another page."""
    path = "/agent/authorities"
    location = see_done(path, TEXT).headers["Location"]
    seal = location.partition("&")[2]
    for odd in (
        f"{path}?done=All+CAs+were+removed",
        f"{path}?done=All+CAs+were+removed&{seal}",
        f"{path}?done=All+CAs+were+removed&seal=%ff",
        location.replace(path, "/agent/users"),
        f"{path}?{seal}",
        path,
    ):
        assert done_text(make_mocked_request("GET", odd)) == ""
