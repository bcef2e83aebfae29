"""The documentation tells of every command, option, setting and metric; what it points at exists."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.test_layers import STEPS

from vouchd.cli.reference import commands
from vouchd.instance.report import InstanceReport
from vouchd.processes.metrics import render
from vouchd.settings.cs_cfg import canonical, look_up
from vouchd.settings.declared import KNOWN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# Hosts of package indexes and folders of machines have no place in the repository; spelt so that this file passes.
INDEX_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "test." + "pypi", "index" + "-url", "find" + "-links")
MACHINE_PATHS = ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/", "/opt/wh" + "eels")


@cache
def text_of(page: str) -> str:
    """One page below docs/."""
    return (DOCS / page).read_text(encoding="utf-8")


COMMANDS = dict(commands())


@cache
def hints() -> tuple[tuple[str, str], ...]:
    """`file:line` and text of every hint in the source, placeholders as `…`."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}
    return tuple(
        (f"{path.relative_to(ROOT)}:{node.value.lineno}", _literal(node.value))
        for path, text in texts.items()
        if re.search(r"\b(?:hint|remedy)\s*=", text)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg in {"hint", "remedy"}
    )


def _literal(node: ast.expr) -> str:
    """The text of a string expression; what is computed is `…`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _literal(node.left) + _literal(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_literal(node.body)} {_literal(node.orelse)}"
    return "…"


def tracked() -> list[Path]:
    """Files of the repository as git knows them, also new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in listed.stdout.decode().splitlines() if (path := ROOT / name).is_file()]


def test_command_is_documented() -> None:
    """Each command has its place in docs/use/commands.md."""
    page = text_of("use/commands.md")
    assert not [command for command in COMMANDS if not re.search(rf"{re.escape(command)}\b", page)]


def test_command_has_help() -> None:
    """Each command and each of its options says what it is for."""
    silent = [
        (command, option.opts[0])
        for command, known in COMMANDS.items()
        for option in known.params
        if "--" in option.opts[0] and not getattr(option, "help", "") and option.opts[0] != "--help"
    ]
    assert not silent
    assert not [command for command, known in COMMANDS.items() if not known.help]


def test_option_is_documented() -> None:
    """Each long option of each command stands in docs/use/commands.md."""
    page = text_of("use/commands.md")
    opts = {name for known in COMMANDS.values() for option in known.params for name in option.opts}
    longs = {name for name in opts if name.startswith("--")} - {"--help"}
    assert not {name for name in longs if not re.search(rf"{re.escape(name)}\b", page)}


def test_setting_is_documented() -> None:
    """Each key of CS.cfg stands in docs/use/configuration.md."""
    missing = [known.name for known in KNOWN if f"`{known.name}`" not in text_of("use/configuration.md")]
    assert not missing


def test_metric_is_documented() -> None:
    """Each metric that /metrics can show stands in docs/operate/processes.md."""
    exposed = render(InstanceReport(1, 0, ("", 0), ("", 0)), {}, None, 0).decode()
    names = set(re.findall(r"^# HELP (\S+)", exposed, re.MULTILINE))
    assert len(names) > 10
    documented = text_of("operate/processes.md")
    assert not {name for name in names if not re.search(rf"\b{name}\b", documented)}


def test_hint_names_a_command_that_exists() -> None:
    """A hint that says `vouchd …` names a command of ours."""
    wrong = [
        f"{where}: vouchd{words}"
        for where, hint in hints()
        for words in re.findall(r"(?:^|`|[:;] |\bor )vouchd((?: [a-z][a-z0-9-]*)+)", hint)
        if not is_command("vouchd" + words)
    ]
    assert not wrong, "\n".join(wrong)


def test_hint_names_a_page_that_exists() -> None:
    """A hint that points into docs/ points at a page."""
    wrong = [
        f"{w}: {page}"
        for w, hint in hints()
        for page in re.findall(r"docs/[\w./-]+\.md", hint)
        if not (ROOT / page).is_file()
    ]
    assert not wrong


def named_keys(text: str) -> Iterator[str]:
    """What a page shows as keys of CS.cfg."""
    yield from re.findall(r"`((?:vouchd|ocsp)\.[A-Za-z.<>_-]+\w)(?:=[^`]*)?`", text)


def named_commands(text: str) -> Iterator[str]:
    """What a page shows as our commands."""
    yield from re.findall(r"`(vouchd(?: [a-z][a-z0-9-]*)+)", text)


def is_command(words: str) -> bool:
    """Whether `words` begin with a command, or are the beginning of some."""
    return any(f"{words} ".startswith(f"{known} ") or f"{known} ".startswith(f"{words} ") for known in COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_names_settings_that_exist(page: Path) -> None:
    """What a page calls a key of CS.cfg is one."""
    keys = {re.sub(r"<\w+>", "x", key) for key in named_keys(page.read_text(encoding="utf-8"))}
    assert not {key for key in keys if look_up(canonical(key)) is None}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_names_commands_that_exist(page: Path) -> None:
    """What a page calls a command is one."""
    assert not {words for words in named_commands(page.read_text(encoding="utf-8")) if not is_command(words)}


def test_page_links_to_what_exists() -> None:
    """Links between the pages lead somewhere."""
    wrong = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not wrong


def test_index_has_every_page() -> None:
    """One index leads to each page below docs/, once."""
    entries = re.findall(r"^\| \[[^]]+\]\(([^)#:]+)\) \|", text_of("index.md"), re.MULTILINE)
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.name != "index.md"]
    assert sorted(entries) == sorted(pages)


def test_architecture_page_has_the_rooms_as_their_docstrings_say_them() -> None:
    """The table of rooms is made from the packages' docstrings: `python scripts/rooms.py` writes it anew."""
    page = text_of("design/architecture.md")
    shown = runpy.run_path(str(ROOT / "scripts" / "rooms.py"))["with_table"](page, STEPS)
    assert shown == page


def test_architecture_page_has_a_line_for_each_law_and_the_file_that_keeps_it() -> None:
    """Each law has its place in the source, and its tests try a law that there is."""
    laws = text_of("design/architecture.md").split("## Laws", 1)[1].split("\n## ", 1)[0]
    lines = re.split(r"^\d+\. ", laws, flags=re.MULTILINE)[1:]
    assert len(lines) == 8
    assert all(re.search(r"`src/vouchd/[\w/]+\.py`", line) for line in lines)
    tried = {
        int(path.name.split("_")[1].removeprefix("law")) for path in (ROOT / "tests" / "laws").glob("test_law*.py")
    }
    assert tried <= set(range(1, 9))


def defined_names(path: Path) -> set[str]:
    """What a module defines: `name`, and `Class.name` of what stands in its classes."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, FUNCTIONS)}
    return names


def test_forty_questions_are_answered_by_files_that_hold_the_name() -> None:
    """Whoever asks where a thing is done is led to a file that does it."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+)\? \| `(src/vouchd/[\w/]+\.py)` \| `([\w.]+)` \|$", page, re.MULTILINE)
    assert len({question for question, _, _ in rows}) == len(rows) == 40
    wrong = [f"{file}: {name}" for _, file, name in rows if name not in defined_names(ROOT / file)]
    assert not wrong


def test_readme_names_source_files_that_exist() -> None:
    """The table `Where is …?` and the decisions name files that are there."""
    wrong = [
        f"{page.name}: {name}"
        for page in PAGES
        for name in re.findall(
            r"`((?:src|tests|docs|bench|scripts|fuzz)/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8")
        )
        if not (ROOT / name).exists()
    ]
    assert not wrong


def test_changelog_begins_with_unreleased() -> None:
    """What changes is written down where the next release will look for it."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (.*)$", text, re.MULTILINE)[1] == "Unreleased"
    assert {"Added", "Changed", "Fixed"} >= set(re.findall(r"^### (.*)$", text, re.MULTILINE)) != set()


def test_tracked_file_names_no_index_and_no_machine() -> None:
    """A clone works with any package index and in any folder."""
    wrong = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", "replace")
        wrong += [f"{path.relative_to(ROOT)}: {word}" for word in (*INDEX_HOSTS, *MACHINE_PATHS) if word in text]
    allowed = {"scripts/lock.sh: " + word for word in INDEX_HOSTS}  # the options that keep them out
    assert not set(wrong) - allowed


def test_requirement_is_pinned_with_a_hash() -> None:
    """Every line of the requirements names one version and its hashes."""
    for path in ROOT.glob("requirements*.txt"):
        entries = [line for line in path.read_text().splitlines() if line[:1].isalnum()]
        assert entries
        assert not [line for line in entries if not re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+ \\", line)]
