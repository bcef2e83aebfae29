"""`make fuzz`: each target in a process of its own, guided by coverage; ends with 1 when one has a finding.

A finding is written below `fuzz/findings/TARGET/`; `python -m fuzz --replay TARGET FILE` runs it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Instrument the readers, then hand over to libFuzzer, which ends the process."""
    import atheris  # noqa: PLC0415  only `make fuzz` has it

    with atheris.instrument_imports(include=["vouchd"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415  imported under instrumentation
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name].trial)
    atheris.Fuzz()


def fuzz_all(names: list[str], seconds: int) -> int:
    """How many targets had a finding."""
    from fuzz.targets import TARGETS  # noqa: PLC0415  the parent needs the names and seeds only

    failed = 0
    for name in names or list(TARGETS):
        findings = HERE / "findings" / name
        findings.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as corpus:
            for number, seed in enumerate(TARGETS[name].seeds()):
                Path(corpus, f"seed-{number}").write_bytes(seed)
            limits = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"]
            command = [sys.executable, "-m", "fuzz", "--one", name, *limits, f"-artifact_prefix={findings}/", corpus]
            print(f"== {name}, {seconds} s", flush=True)
            failed += subprocess.run(command, check=False).returncode != 0
    return failed


def main() -> int:
    """The command line."""
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one input through a target")
    options = parser.parse_args()
    if options.replay:
        from fuzz.targets import TARGETS  # noqa: PLC0415  as above

        TARGETS[options.replay[0]].run(Path(options.replay[1]).read_bytes())
        return 0
    return 1 if fuzz_all(options.targets, options.seconds) else 0


if __name__ == "__main__":
    raise SystemExit(main())
