"""THE table of panels, in the order and by the names of the documented wizard: what each asks, when it is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from vouchd.errors import ConfigError, VouchdError
from vouchd.setup.checks import Checks
from vouchd.setup.fields import Field, fields_of
from vouchd.setup.questionnaire import Answers

Check = Callable[[Checks, Answers], None]


# What is not asked of whoever has answered so.
_UNASKED: Mapping[str, Callable[[Answers], bool]] = MappingProxyType(
    {
        "restore_keys.kind": lambda answers: answers.is_clone,
        "restore_keys.certificate": lambda answers: answers.is_clone,
        "restore_keys.key": lambda answers: answers.is_clone or answers.on_token,
        "key_pairs.extractable": lambda answers: not answers.on_token,
        "subject_names.subject": lambda answers: answers.restores_signer,
    }
)


def _never(_: Answers) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its name, what it says of itself, the section of the answers it fills, and the check of that.

    `skipped` says why it has nothing to ask, empty: it does. It is settled once one of the steps `settled_by` is done:
    its answers were used then, and another one would have no effect.
    """

    name: str
    lead: str
    section: str = ""
    check: Check = lambda _, __: None
    skipped: Callable[[Answers], str] = _never
    settled_by: Callable[[Answers], frozenset[str]] = lambda _: frozenset()

    @property
    def slug(self) -> str:
        """Its name in addresses."""
        return self.name.lower().replace(" ", "-")

    @property
    def fields(self) -> tuple[Field, ...]:
        """What it asks."""
        return fields_of(self.section) if self.section else ()

    def questions(self, answers: Answers) -> tuple[Field, ...]:
        """What it asks whoever has answered so; where its `kind` is not asked, the others do not depend on it."""
        questions = tuple(one for one in self.fields if one.path not in _UNASKED or not _UNASKED[one.path](answers))
        if any(one.name == "kind" for one in questions):
            return questions
        return tuple(replace(one, when=()) for one in questions)

    def is_settled(self, answers: Answers, done: Iterable[str]) -> bool:
        """Whether the steps that are done have used its answers."""
        return not self.settled_by(answers).isdisjoint(done)


def _restoring_skipped(answers: Answers) -> str:
    if not answers.is_clone or not answers.on_token:
        return ""
    return "The keys of the domain are found on the token, by their certificates."


def _of_own_names(answers: Answers) -> str:
    return "A clone has the keys of its domain, and their certificates." if answers.is_clone else ""


def _of_new_keys(answers: Answers) -> str:
    if answers.restores_signer:
        return "The signing key is there already; the other keys are made beside it."
    return _of_own_names(answers)


def _administrator_skipped(answers: Answers) -> str:
    return "The administrators of the domain are known to all of its members." if answers.is_clone else ""


def _steps(*names: str) -> Callable[[Answers], frozenset[str]]:
    return lambda _: frozenset(names)


def _of_domain(answers: Answers) -> frozenset[str]:
    """A Certificate System's domain is entered late: until then its user and password can be mended."""
    return frozenset({"enter"} if answers.enters_certsystem else {"create", "join"})


_MADE = _steps("create", "keys")
PANELS = (
    Panel(
        "Welcome",
        "This wizard sets up an OCSP manager: it answers whether certificates are revoked. Nothing is changed before"
        " the last panel. You can leave at any time: what you have typed is kept on this host.",
    ),
    Panel(
        "Key Store", "Where the key lives that answers are signed with.", "key_store", Checks.key_store, _never, _MADE
    ),
    Panel(
        "Security Domain",
        "Which other instances this one works together with.",
        "security_domain",
        Checks.security_domain,
        _never,
        _of_domain,
    ),
    Panel(
        "Subsystem Type",
        "What this instance is, and under which name and ports it is reached.",
        "subsystem",
        Checks.subsystem,
        _never,
        _MADE,
    ),
    Panel(
        "Restore Keys",
        "A clone signs with the keys of its master, which come in a PKCS #12 file. A new subsystem may have its signing"
        " key, and the certificate of that, already.",
        "restore_keys",
        Checks.restore_keys,
        _restoring_skipped,
        _MADE,
    ),
    Panel(
        "Internal Database",
        "Where this instance keeps its CAs, CRLs and users. It is looked at now, and changed in the last panel.",
        "internal_database",
        Checks.internal_database,
        _never,
        _steps("database", "replicate", "facts"),
    ),
    Panel(
        "Key Pairs",
        "The key that answers are signed with; the keys of TLS server, subsystem, audit log and administrator are made"
        " beside it.",
        "key_pairs",
        Checks.key_pairs,
        _of_new_keys,
        _MADE,
    ),
    Panel(
        "Subject Names",
        "What the certificates of this instance say of it.",
        "subject_names",
        Checks.subject_names,
        _of_own_names,
        _MADE,
    ),
    Panel(
        "Requests and Certificates",
        "A CA certifies the keys that are made here.",
        "requests",
        Checks.requests,
        _never,
        _steps("certificates", "certificate"),
    ),
    Panel(
        "Export Keys",
        "Who loses the keys can answer no more: a backup belongs elsewhere.",
        "export_keys",
        Checks.export_keys,
        _never,
        _steps("export"),
    ),
    Panel(
        "Administrator",
        "The first user of the agent port, with all rights. Its key and certificate come in a file for your browser.",
        "administrator",
        Checks.administrator,
        _administrator_skipped,
        _steps("administrator"),
    ),
    Panel("Review", "Look it over. Setting up begins with the button below."),
    Panel("Done", "What was set up, and where it runs."),
)
WELCOME, REVIEW, DONE = PANELS[0], PANELS[-2], PANELS[-1]
ASKING = tuple(panel for panel in PANELS if panel.section)


def panel_of(slug: str) -> Panel | None:
    """The panel of that address."""
    return next((panel for panel in PANELS if panel.slug == slug), None)


def check_all(checks: Checks, answers: Answers, done: Iterable[str]) -> None:
    """Check every panel that is to be asked and not settled, in their order.

    Raises: PanelRefused of the first that is not as it should be.
    """
    done = frozenset(done)
    for panel in ASKING:
        if not panel.skipped(answers) and not panel.is_settled(answers, done):
            try:
                panel.check(checks, answers)
            except VouchdError as error:
                raise PanelRefused(panel, error) from error


class PanelRefused(ConfigError):
    """What one panel has is refused; says which, and what the check said."""

    def __init__(self, panel: Panel, error: VouchdError) -> None:
        super().__init__(f"{panel.name}: {error}", hint=error.hint)
        self.panel = panel
        self.error = error
