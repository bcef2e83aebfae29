"""The container file and the Compose example: what a linter of them would look at."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import compose as compose_package
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "deploy" / "container"


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the container file with its words, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", (CONTAINER / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    steps = instructions()
    begin = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    return steps[begin:]


def test_what_builds_is_not_in_the_image():
    """Compilers and pip stay in the first stage."""
    stages = [words for name, words in instructions() if name == "FROM"]
    assert len(stages) == 2
    assert stages[0].endswith("AS build")
    final = " ".join(words for _, words in last_stage())
    assert not re.search(r"\bgcc\b|-dev\b|pip install", final)


def test_image_runs_as_a_user_by_number_and_says_whether_it_is_well():
    """An orchestrator that demands a user other than root can see that it is one."""
    of_last = dict(last_stage())
    user, _, group = of_last["USER"].partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    assert 'CMD ["vouchd", "status"]' in of_last["HEALTHCHECK"]
    assert of_last["ENTRYPOINT"] == '["vouchd"]'


def test_everything_installed_is_pinned_by_its_hash():
    """Each pip install of others' code demands hashes, and no package list is left in a layer."""
    for name, words in instructions():
        if name != "RUN":
            continue
        for install in re.findall(r"pip install [^&]+", words):
            assert "--require-hashes" in install or install.rstrip().endswith(" ."), install
        if "apt-get install" in words:
            assert "--no-install-recommends" in words
            assert "rm -rf /var/lib/apt/lists/*" in words


def test_what_is_copied_is_there_and_goes_into_the_context():
    """.dockerignore lets through what the file copies, and nothing that is secret or large."""
    ignore = (ROOT / ".dockerignore").read_text().split()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    assert ignore[0] == "*"
    for name, words in instructions():
        if name != "COPY" or words.startswith("--from"):
            continue
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source.removeprefix("./"), one) for one in allowed), source


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    """The services of the Compose example."""
    return yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]


def test_example_is_a_set_of_two_with_a_directory_server_each(services):
    """Master and clone, each after its own server; the clone after its master."""
    assert sorted(services) == ["clone", "ds1", "ds2", "master"]
    assert set(services["master"]["depends_on"]) == {"ds1"}
    assert set(services["clone"]["depends_on"]) == {"ds2", "master"}
    assert services["master"]["volumes"] != services["clone"]["volumes"]


def test_example_gives_an_instance_no_more_than_it_needs(services):
    """A read-only root, no capability, no new privilege; names that are no localhost, volumes that are declared."""
    whole = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    for name in ("master", "clone"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for name, service in services.items():
        assert "." in service["hostname"], name
        named = [volume for volume in service["volumes"] if not volume.startswith("./")]
        assert {volume.partition(":")[0] for volume in named} <= set(whole["volumes"])
        assert all(volume.endswith(":ro") for volume in service["volumes"] if volume not in named), (
            "of the host: to read"
        )
        assert "PASSWORD:" not in str(service.get("environment", "")), "passwords are files"


def compose(file: Path) -> subprocess.CompletedProcess[str]:
    """What Docker Compose itself says of a file, by its schema; it needs no daemon for that."""
    program = Path(compose_package.__path__[0]) / "docker-compose"  # its entry point in Python loses the exit code
    return subprocess.run([program, "-f", file, "config"], capture_output=True, text=True, check=False)


def test_compose_example_is_read_by_docker_compose(tmp_path):
    """The example holds to the schema of Compose files; a key that there is not is refused, so it was looked at."""
    example = tmp_path / "compose.yaml"
    shutil.copy(CONTAINER / "compose.yaml", example)
    read = compose(example)
    assert read.returncode == 0, read.stderr
    services = yaml.safe_load(read.stdout)["services"]
    assert set(services) == {"master", "clone", "ds1", "ds2"}
    assert all(services[name]["read_only"] for name in ("master", "clone"))
    example.write_text(example.read_text().replace("read_only: true", "readonly: true"))
    refused = compose(example)
    assert refused.returncode != 0
    assert "readonly" in refused.stderr
