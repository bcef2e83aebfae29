"""CS.cfg of any text: read and written back unchanged, or refused with file and line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vouchd.errors import ConfigError
from vouchd.settings import cs_cfg
from vouchd.settings.declared import KNOWN

KEYS = [known.name.replace("<name>", "n").replace("<nickname>", "n").replace("*", "x") for known in KNOWN]
KEY = st.sampled_from([*KEYS, "OCSP.Responder.store.defStore.refreshInSec", "store.defStore.byName"]) | st.text(
    max_size=20
)
LINE = st.text(max_size=40) | st.builds("{}={}".format, KEY, st.text(max_size=12) | st.integers().map(str))
TEXT = st.lists(LINE, max_size=8).map("\n".join)


def parsed(text):
    """The file, or what it was refused with."""
    try:
        return cs_cfg.parse(text, "F")
    except ConfigError as error:
        return error


@given(TEXT)
def test_parse_any_text_round_trips_or_is_refused_with_its_line(text):
    """No text makes anything but a checked file or a ConfigError that starts with the file's name."""
    config = parsed(text)
    if isinstance(config, ConfigError):
        assert str(config).startswith("F")
    else:
        assert config.render() == text
        assert parsed(config.render()) == config


@given(TEXT, st.sampled_from([known for known in KNOWN if not known.inert and "<" not in known.name]))
def test_with_values_sets_one_key_and_leaves_the_other_lines(text, known):
    """A change is read back, and every other line stays where and as it was."""
    config = parsed(text)
    if isinstance(config, ConfigError):
        return
    changed = config.with_values({known.name: known.kind.write(known.default)})
    assert changed.value(known.name) == known.default
    others = {key: a.value for key, a in config.assignments.items() if key != known.name}
    assert {key: a.value for key, a in changed.assignments.items() if key != known.name} == others
