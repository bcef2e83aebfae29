"""What `make docs` adds to the pages of docs/: the menu as the index has it, the REST API, a look at what was built.

MkDocs calls the functions `on_…`. The site takes nothing from elsewhere, no font and no script, so that it can be read
where there is no way out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify
from scripts import docs_api

from vouchd.api.openapi import document
from vouchd.api.table import OPERATIONS

ROOT = Path(__file__).resolve().parents[1]
ICON = ROOT / "src" / "vouchd" / "agent" / "pages" / "static" / "icon.svg"
API = "use/rest-operations.md"
# The page after which the operations of the REST API stand.
RULES = "use/rest.md"

_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'>\s]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon|manifest))[^>]*\bhref=["']?(?:https?:)?//[^"'>\s]+"""
    r"""|url\(\s*["']?(?:https?:)?//[^)\s]+|@import\s+["']?(?:https?:)?//\S+""",
    re.IGNORECASE,
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The menu is the index: its headings, and below each the pages of its table."""
    config.nav = menu(Path(config.docs_dir, "index.md").read_text(encoding="utf-8"))
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def menu(index: str) -> list[Any]:
    """The menu that an index makes."""
    sections: list[Any] = ["index.md"]
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", index, re.MULTILINE | re.DOTALL):
        pages = re.findall(r"^\| \[[^]]+\]\(([^)#:]+\.md)\) \|", body, re.MULTILINE)
        if RULES in pages:
            pages.insert(pages.index(RULES) + 1, API)
        if pages:
            sections.append({heading: pages})
    return sections


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The page of the REST API's operations, the document that it is made of, and the icon."""
    shape = document(OPERATIONS)
    files.append(File.generated(config, API, content=docs_api.page(shape)))
    files.append(File.generated(config, "use/openapi.json", content=docs_api.source(shape)))
    files.append(File.generated(config, "icon.svg", abs_src_path=str(ICON)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """A link that is called by its file has the title of the page; nothing would be shown as it is not meant."""
    for line, before in _prose(markdown):
        for wrong, words in _LOST.items():
            if re.search(wrong, f"{before}\n{line}", re.MULTILINE):
                raise PluginError(f"{page.file.src_uri}: {words}: {line}")
    markdown = _with_lists(markdown)
    return _NAMED_BY_FILE.sub(lambda link: f"[{_title(link[2], page, files)}]({link[2]}{link[3] or ''})", markdown)


# What GitHub shows as it is meant and Python-Markdown does not, by a pattern over a line and the one before.
_LOST = {
    r"\A.*\n.*<(?!/?(?:br|sup|sub|a)\b|!--|https?:)[A-Za-z]": "what stands in <…> is not shown; mark it as code",
    r"\A.*\n {1,3}[-*] ": "a list in a list needs four spaces",
}
_NAMED_BY_FILE = re.compile(r"\[([\w/.-]+\.md)\]\(([\w/.-]+\.md)(#[\w-]+)?\)")


def _title(target: str, page: Page, files: Files) -> str:
    """The title of the page that a link leads to, or the link where there is none: the build says so then."""
    path = Path(page.file.src_uri).parent / target
    file = files.get_file_from_path(os.path.normpath(path))
    heading = file and re.search(r"^# (.+)$", file.content_string, re.MULTILINE)
    return heading[1] if heading else target


def _with_lists(markdown: str) -> str:
    """The page with an empty line before each list that follows a paragraph, which Python-Markdown wants."""
    fenced, lines = False, [""]
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and re.match(r"(?:[-*]|1\.) ", line) and re.match(r"(?! *(?:[-*]|\d+\.) )\S", lines[-1]):
            lines.append("")
        lines.append(line)
    return "\n".join(lines[1:])


def _prose(markdown: str) -> Iterator[tuple[str, str]]:
    """The lines without code, each with the one before it."""
    fenced, before = False, ""
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            words = re.sub(r"(`+).*?\1", "`", line)
            yield words, before
            before = words


def on_post_build(config: MkDocsConfig) -> None:
    """Nothing in the site is fetched from another host."""
    built = Path(config.site_dir)
    foreign = [
        f"{path.relative_to(built)}: {reference}"
        for path in sorted(built.rglob("*"))
        if path.suffix in {".html", ".css"}
        for reference in _FETCHED.findall(path.read_text(encoding="utf-8"))
    ]
    if foreign:
        raise PluginError("the site would fetch from elsewhere:\n" + "\n".join(foreign))
