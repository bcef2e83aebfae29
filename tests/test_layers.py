"""The direction of imports: a module imports only from layers to its right, and every module has a layer."""

from __future__ import annotations

import ast
import graphlib
import itertools
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from vouchd.hardening import PROGRAM

SOURCE = Path(__file__).parents[1] / "src" / "vouchd"

# From the outside to the inside; rooms on one step never import each other.
STEPS = (
    ("cli",),
    ("wiring",),
    ("processes",),
    ("setup",),
    ("agent", "migration"),
    ("api",),
    ("alerts",),
    ("cloning",),
    ("instance", "ee", "stores"),
    ("audit", "index", "sources", "settings"),
    ("service", "directory", "ca", "client"),
    ("core", "signing"),
    ("pkix",),
    ("files", "locks", "threads", "sockets", "clock", "hardening"),
    ("errors",),
)
STEP_OF = {name: step for step, names in enumerate(STEPS) for name in names}
PURE = frozenset({"core", "pkix", "errors"})
IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
PACKAGE_ITSELF = "vouchd"  # __init__.py: the version, imports nothing

# What the standard library offers without input, output, a clock, logging or other hidden state.
PURE_STANDARD_LIBRARY = frozenset(
    {
        "__future__",
        "abc",
        "array",
        "base64",
        "binascii",
        "bisect",
        "calendar",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "time",  # for gmtime and strptime; its clocks are refused below
        "types",
        "typing",
        "unicodedata",
    }
)
CORE_LIBRARIES = frozenset({"asn1crypto", "cryptography", "msgspec"})
CLOCKS = frozenset({"now", "today", "utcnow", "time", "time_ns", "monotonic", "perf_counter", "localtime", "sleep"})


def modules() -> list[Path]:
    """All source files."""
    return sorted(SOURCE.rglob("*.py"))


def layer_of(path: Path) -> str:
    """The first name below the package: `core` of pkix/ocsp.py, `errors` of errors.py."""
    first = path.relative_to(SOURCE).parts[0]
    return PACKAGE_ITSELF if first == "__init__.py" else first.removesuffix(".py")


@cache
def syntax(path: Path) -> Mapping[type[ast.AST], Sequence[ast.AST]]:
    """All of it, by kind: each test here looks for some kinds in all modules."""
    kinds = defaultdict(list)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        kinds[type(node)].append(node)
    return kinds


def nodes(path: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """Those of a module that are of one of these kinds."""
    return itertools.chain.from_iterable(syntax(path).get(kind, ()) for kind in kinds)


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Nobody else needs it, and it is large."""
    yield
    syntax.cache_clear()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that `path` imports, wherever in the file."""
    package = ("vouchd", *path.relative_to(SOURCE).parts[:-1])
    for node in nodes(path, *IMPORTS):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            # `from vouchd import core` names a layer too.
            names = [f"vouchd.{alias.name}" for alias in node.names] if module == "vouchd" else [module]
            yield from ((node.lineno, name) for name in names)


def wrong_imports(path: Path) -> list[str]:
    """Each import of `path` that goes to the left or across, as `file:line: why`."""
    layer = layer_of(path)
    violations = []
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "vouchd" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        target = parts[1]
        if target not in STEP_OF:
            violations.append(f"{path}:{line}: vouchd.{target} has no layer")
        elif layer == PACKAGE_ITSELF or (target != layer and STEP_OF[target] <= STEP_OF[layer]):
            violations.append(f"{path}:{line}: {layer} must not import {target}")
    return violations


def test_source_exists_for_reading() -> None:
    """The other tests here look at something."""
    assert len(modules()) > 3


def test_module_without_layer_is_refused() -> None:
    """Every module belongs to a layer; a new one is entered above first."""
    homeless = [str(path) for path in modules() if layer_of(path) not in {*STEP_OF, PACKAGE_ITSELF}]
    assert not homeless


def test_import_goes_to_the_right_only() -> None:
    """A module imports from layers nearer to the core, never outwards, never from a neighbour on its step."""
    wrong = [line for path in modules() for line in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def test_core_imports_only_pure_modules() -> None:
    """The core does no input or output and knows no clock, so it imports nothing that could."""
    allowed = PURE_STANDARD_LIBRARY | CORE_LIBRARIES | {"vouchd"}
    wrong = [
        f"{path}:{line}: {name}"
        for path in modules()
        if layer_of(path) in PURE
        for line, name in imports(path)
        if name.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_core_reads_no_clock() -> None:
    """Time is an argument of the core: no time.time, no datetime.now and their like."""
    wrong = [
        f"{path}:{node.lineno}"
        for path in modules()
        if layer_of(path) in PURE
        for node in nodes(path, ast.Call)
        if isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    ]
    assert not wrong, "\n".join(wrong)


def file_imports() -> dict[str, set[str]]:
    """Of each module the modules of ours that it imports, for type checking only or inside of functions too."""
    names = {module_name(path): path for path in modules()}

    def of(name: str, path: Path) -> Iterator[str]:
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in nodes(path, *IMPORTS):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join((*base, *filter(None, [node.module])))
                yield from (f"{module}.{a.name}" if f"{module}.{a.name}" in names else module for a in node.names)

    return {name: {other for other in of(name, path) if other in names} - {name} for name, path in names.items()}


def module_name(path: Path) -> str:
    """`vouchd.core.status` of its file."""
    return ".".join(("vouchd", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def test_no_two_files_import_each_other_in_a_circle() -> None:
    """Each file can be read, and understood, after those that it imports; an import for type checking counts too."""
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    graphlib.TopologicalSorter(file_imports()).prepare()


def made_names(path: Path) -> set[str]:
    """The names that a module makes itself: functions, classes, and what it assigns."""
    names: set[str] = set()
    for node in nodes(path, *DEFINITIONS, ast.Name):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names


def second_hand_imports() -> list[str]:
    """Each name that is imported from a module of ours that has only imported it itself, as `file:line: name`."""
    paths = {module_name(path): path for path in modules()}
    makes = {name: made_names(path) for name, path in paths.items()}
    return [
        f"{path.relative_to(SOURCE)}:{node.lineno}: {alias.name} of {node.module}"
        for path in modules()
        for node in nodes(path, ast.ImportFrom)
        if node.module in paths
        for alias in node.names
        if f"{node.module}.{alias.name}" not in paths and alias.name not in makes[node.module] | {"__version__"}
    ]


def test_name_is_imported_from_where_it_is_made() -> None:
    """No module hands on what another one makes: whoever looks for a thing comes to it in one step."""
    assert not second_hand_imports()


# What a thing is, not how it was come by: these say nothing to whoever reads the next line.
NO_NOUNS = frozenset({"found", "told", "there", "asked", "held", "given", "answered", "received"})
NAMED = ("src", "tests", "bench", "scripts", "fuzz")


def declared_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each variable, attribute, parameter, function and class that a module makes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


# What is no code, comments and texts; those that are formatted have code in them.
PROSE = re.compile(
    r"#.*"
    r"|(?:\b(?P<formatted>[rR]?[fF][rR]?)|\b[bBrRuU]{1,2})?"
    r'(?:"{3}(?:\\[\s\S]|[^\\])*?"{3}' + r"|'{3}(?:\\[\s\S]|[^\\])*?'{3}"
    r'|"(?:\\[\s\S]|[^"\\\n])*"' + r"|'(?:\\[\s\S]|[^'\\\n])*')"
)
NO_NOUN = re.compile(rf"\b_*(?:{'|'.join(sorted(NO_NOUNS))})_*\b")


def code_of(text: str) -> str:
    """A program without its prose, which is most of what has these words."""
    return PROSE.sub(lambda prose: prose[0] if prose["formatted"] else " ", text)


def no_nouns(text: str) -> list[tuple[int, str]]:
    """Line and name of what a program declares with a name in NO_NOUNS, leading and trailing underscores aside."""
    if not NO_NOUN.search(code_of(text)):
        return []
    return [(line, name) for line, name in declared_names(ast.parse(text)) if name.strip("_") in NO_NOUNS]


def names_that_are_no_nouns() -> list[str]:
    """The places of such names in all that is Python here, of modules as well."""
    root = Path(__file__).parents[1]
    places: list[str] = []
    for path in (path for folder in NAMED for path in sorted((root / folder).rglob("*.py"))):
        module = [(1, path.stem)] if path.stem.strip("_") in NO_NOUNS else []
        declared = no_nouns(path.read_text(encoding="utf-8"))
        places += [f"{path.relative_to(root)}:{line}: {name}" for line, name in module + declared]
    return places


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("found = 1", 1),
        ("'''x\\'''' # '''\n_told = 1", 2),
        ("x = f'{[there for there in y]}'", 1),
        ("x = 'a # b'; asked_ = 1  # it's", 1),
        ('r"\\""; held = "\\\\"', 1),
        ("def given(): ...", 1),
        ("x.answered = 1", 1),
        ("class X:\n    received: int", 2),
        ("import y as found", 1),
        ("lambda told: 1", 1),
        ("'found = 1'", 0),
        ("b'it is' # found = 1", 0),
        ("x = found", 0),
        ("'''\nfound = 1\n'''", 0),
        ("finder = '\\'' 'found'", 0),
    ],
)
def test_name_that_is_no_noun_is_seen(program: str, line: int) -> None:
    """The checker itself: a name is seen wherever it is declared, and what is said in prose is none."""
    assert [place for place, _ in no_nouns(program)] == [line] * bool(line)


def test_modules_and_variables_are_nouns() -> None:
    """A name says what the thing is: no pronouns or participles as names of modules, variables, parameters, functions."""
    places = names_that_are_no_nouns()
    assert not places, "\n".join(places)


# A face names its file after the subject that it shows; everywhere else one name is one thing.
FACES = frozenset({"cli", "api", "agent", "wiring"})
ONE_WORD = {"verification": "verifying", "answers": "answering"}


def modules_of_one_name() -> set[tuple[str, str]]:
    """Pairs of modules that share a name, though one's room imports from the other's; those of rooms in rooms aside."""
    imported = file_imports()
    talk = {(room_of(name), room_of(other)) for name, others in imported.items() for other in others}
    files = [module_name(path) for path in modules() if path.name != "__init__.py"]
    plain = [name for name in files if name.count(".") <= 2]  # `pkcs12.reading` has its room in its name
    return {
        (one, other)
        for one, other in itertools.combinations(sorted(plain), 2)
        if word_of(one) == word_of(other)
        and not FACES & {room_of(one), room_of(other)}
        and {(room_of(one), room_of(other)), (room_of(other), room_of(one))} & talk
    }


def room_of(name: str) -> str:
    """`core` of vouchd.core.status."""
    return name.split(".")[1] if "." in name else name


def word_of(name: str) -> str:
    """What a module is called, one word for each thing."""
    last = name.rsplit(".", 1)[-1]
    return ONE_WORD.get(last, last)


def test_rooms_that_talk_to_each_other_have_no_two_modules_of_one_name() -> None:
    """A word means one thing among rooms that import from each other."""
    assert not modules_of_one_name()


def test_asn1_library_is_known_in_one_room_alone() -> None:
    """Only pkix takes ASN.1 apart, and core builds responses; the rest speaks of facts. asn1crypto is for PKCS #12 alone."""
    wrong = [
        f"{path}:{line}"
        for path in modules()
        for line, name in imports(path)
        if name.startswith(("asn1crypto", "cryptography.hazmat.asn1"))
        if layer_of(path) not in {"core", "pkix"} or (name.startswith("asn1crypto") and path.parent.name != "pkcs12")
    ]
    assert not wrong, "\n".join(wrong)


# What cannot be written whole beside its place: it grows, it is a lock, or a library keeps it.
WRITERS = {
    "files.py": "the writer itself",
    "audit/log.py": "the audit log is appended to, under a lock beside it",
    "processes/logs.py": "the log is appended to",
    "instance/lifecycle.py": "the log is appended to by the process that is started",
    "instance/locking.py": "locks",
    "instance/pidfile.py": "the PID file is a lock",
    "instance/selftests/results.py": "a lock beside the results",
    "stores/sqlite/database.py": "SQLite keeps the database; it is made with its mode before",
    "ca/store.py": "SQLite keeps the database; it is made with its mode before",
    "directory/process.py": "what the directory server prints goes to its console file",
    "cli/main.py": "/dev/null takes the place of a pipe that nobody reads",
}
_WRITING = {"write_bytes", "write_text", "touch", "FileHandler", "NamedTemporaryFile", "mkstemp", "open", "fdopen"}
_MAKING = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}


def writes(path: Path) -> Iterator[int]:
    """Each line of `path` that opens a file for writing."""
    for node in nodes(path, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in _WRITING:
            continue
        texts = {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
        modes = {one for one in texts if isinstance(one, str) and re.fullmatch(r"[rwxab+t]{1,3}", one)}
        flags = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)} & _MAKING
        if (
            name not in {"open", "fdopen"}
            or any(set(mode) & set("wxa+") for mode in modes)
            or (name == "open" and flags)
        ):
            yield node.lineno


def test_file_is_written_in_one_place_alone() -> None:
    """Whole or not at all, durable and private are the rules of one writer; what cannot use it is named with why."""
    opening = {str(path.relative_to(SOURCE)): list(writes(path)) for path in modules()}
    wrong = [f"{name}:{line}" for name, lines in opening.items() if name not in WRITERS for line in lines]
    assert not wrong, "\n".join(wrong)
    assert not [name for name in WRITERS if not opening.get(name)], "these write nothing: take them out of the list"


@pytest.mark.parametrize(
    ("statement", "opens"),
    [
        ("path.open('wb')", True),
        ("open(path, 'a')", True),
        ("os.open(path, os.O_RDWR | os.O_CREAT, 0o600)", True),
        ("path.write_text('x')", True),
        ("path.open('rb')", False),
        ("os.open(path, os.O_RDONLY | os.O_DIRECTORY)", False),
    ],
)
def test_writer_of_a_file_is_seen(tmp_path: Path, statement: str, opens: bool) -> None:
    """The checker itself: each form of opening is judged."""
    path = tmp_path / "x.py"
    path.write_text(statement)
    assert bool(list(writes(path))) is opens


# What is not read whole within a limit: it is read in pieces, or is mapped, or where it ends matters.
READERS = {
    "files.py": "the reader itself",
    "audit/log.py": "the ends of the files of the log",
    "audit/log_files.py": "the files of the log: the end, or mapped to be read backwards",
    "audit/proof.py": "the files of the log, line by line, as of one moment",
    "index/journal.py": "the manifest: within its limit, and what came to it since",
    "index/octets.py": "index files: mapped, in blocks, or whole when they are small",
    "instance/archive.py": "a backup goes from file to file in pieces",
    "instance/pidfile.py": "the PID file is a lock; 32 octets of it are read",
    "instance/signing_sets.py": "a mapping of one size",
    "sources/file.py": "a CRL within its limit, whose file is compared before and after",
}
_OWN = ("files(", ".joinpath(")  # of this package, which are what was installed
_READING = {"read_bytes", "read_text", "open"}
_NO_CONTENT = {"O_DIRECTORY", "O_PATH"}


def reads(path: Path) -> Iterator[int]:
    """Each line of `path` that opens a file for reading, other than what this package brings along."""
    writing = set(writes(path))
    for node in nodes(path, ast.Call):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = method or getattr(node.func, "id", "")
        if called not in _READING or node.lineno in writing:
            continue
        receiver = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        every = (one for argument in node.args for one in ast.walk(argument))
        texts = {one.value for one in every if isinstance(one, ast.Constant)}
        flags = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
        if (
            (method in {"read_bytes", "read_text"} and not any(own in receiver for own in _OWN))
            or (called == "open" and any(re.fullmatch(r"r[bt]?\+?", str(text)) for text in texts))
            or (method == "open" and receiver != "os" and not node.args and not node.keywords)
            or (called == "open" and not receiver and len(node.args) == 1)
            or (method == "open" and receiver == "os" and "O_RDONLY" in flags and not flags & _NO_CONTENT)
        ):
            yield node.lineno


def test_file_is_read_in_one_place_alone() -> None:
    """Within a limit, and with the system's words in one of our errors: what cannot be read that way is named with why."""
    opening = {str(path.relative_to(SOURCE)): list(reads(path)) for path in modules()}
    wrong = [f"{name}:{line}" for name, lines in opening.items() if name not in READERS for line in lines]
    assert not wrong, "\n".join(wrong)
    assert not [name for name in READERS if not opening.get(name)], "these read nothing: take them out of the list"


@pytest.mark.parametrize(
    ("statement", "opens"),
    [
        ("path.read_bytes()", True),
        ("path.read_text(encoding='utf-8')", True),
        ("path.open('rb')", True),
        ("path.open()", True),
        ("open(path)", True),
        ("open(path, 'r')", True),
        ("path.open('r+b' if writable else 'rb')", True),
        ("os.open(path, os.O_RDONLY | os.O_CLOEXEC)", True),
        ("os.open(path, os.O_RDONLY | os.O_DIRECTORY)", False),
        ("path.open('wb')", False),
        ("read_text(body, 'token')", False),
        ("files('vouchd.agent').joinpath('x').read_text('utf-8')", False),
        ("launcher.open(SECONDS)", False),
    ],
)
def test_reader_of_a_file_is_seen(tmp_path: Path, statement: str, opens: bool) -> None:
    """The checker itself: each form of opening is judged."""
    path = tmp_path / "x.py"
    path.write_text(statement)
    assert bool(list(reads(path))) is opens


def test_layer_has_no_name_of_the_standard_library() -> None:
    """No top-level name of ours hides a module of the standard library when the folder is on the path by mistake."""
    clash = {name for name in STEP_OF if name in sys.stdlib_module_names}
    assert not clash


@pytest.mark.parametrize(
    ("where", "statement", "allowed"),
    [
        ("core/x.py", "from vouchd.service import answering", False),
        ("core/x.py", "from vouchd.core import facts", True),
        ("index/x.py", "import vouchd.stores.rules", False),
        ("stores/x.py", "from vouchd.service.ingesting import accept_crl", True),
        ("service/x.py", "from ..stores import sqlite", False),
        ("service/x.py", "from . import answering", True),
        ("cli/x.py", "from vouchd import wiring", True),
        ("cli/x.py", "from vouchd import __version__", True),
        ("core/x.py", "def f():\n    from vouchd.ee import server", False),
        ("core/x.py", "from vouchd.nowhere import x", False),
    ],
)
def test_checker_tells_right_from_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, statement: str, allowed: bool
) -> None:
    """The checker itself: each form of import is seen and judged."""
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(statement)
    assert (not wrong_imports(path)) is allowed


@pytest.mark.process
def test_manager_of_the_embedded_store_starts_without_the_directory_s_modules():
    """Whoever has no directory server needs no LDAP library and pays for none of it."""
    listed = "import sys, vouchd.wiring.manager; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not [name for name in loaded if name.startswith(("ldap", "vouchd.directory.", "vouchd.stores.ldap"))]


@pytest.mark.process
@pytest.mark.parametrize("module", ["ca", "clone", "crl", "domain", "lifecycle", "user", "worker"])
def test_commands_and_workers_start_without_what_only_the_manager_needs(module):
    """Every command and every worker would pay for them with time and memory at its start."""
    listed = f"import sys, vouchd.cli.{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    unwanted = {"aiohttp", "asn1crypto", "prometheus_client", "ldap", "jinja2", "rich"}
    if module != "worker":
        unwanted |= {"asyncio", "uvloop", "httptools"}
    assert not unwanted & set(done.stdout.split())


@pytest.mark.process
def test_worker_is_without_what_reads_mail_and_the_web():
    """A library brings them along for what no worker does: three megabytes of each."""
    listed = "import sys, vouchd.wiring.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    unwanted = {"difflib", "email.message", "http.client", "urllib.request", "xml"}
    assert not unwanted & set(done.stdout.split())


def test_our_own_programs_are_started_by_one_list():
    """No other place has a module run: where `-P` is forgotten, Python takes modules from the working directory."""
    places = [path for path in modules() if re.search(r"""["']-m["'], *["']vouchd""", path.read_text(encoding="utf-8"))]
    assert not places
    assert PROGRAM[1:] == ("-P", "-m")
