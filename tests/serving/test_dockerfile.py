"""The Dockerfile, as far as it can be checked without Docker: its instructions, and that what it copies is there."""

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
JOINED = re.sub(r"\\\n\s*", " ", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")))
STEPS = [line.split(maxsplit=1) for line in JOINED.splitlines() if line.strip()]
KNOWN = {
    "FROM", "COPY", "RUN", "USER", "WORKDIR", "ENV", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD",
}  # fmt: skip


def values(name: str) -> list[str]:
    return [value for word, value in STEPS if word == name]


def test_every_instruction_is_one_and_the_base_is_the_first():
    assert {word for word, _ in STEPS} <= KNOWN
    assert STEPS[0] == ["FROM", "python:3.11-slim"]
    for word in ("ENTRYPOINT", "CMD"):
        assert len(values(word)) == 1
        assert all(isinstance(part, str) for part in json.loads(values(word)[0]))
    for command in values("RUN"):
        assert shlex.split(command)


@pytest.mark.parametrize("sources", [value.split()[:-1] for value in values("COPY")])
def test_what_is_copied_is_there_and_not_ignored(sources):
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists()
        assert source in kept
        assert not any(
            fnmatch(source, line) for line in ignored if not line.startswith(("!", "#")) and line != "*"
        )


def test_what_the_build_reads_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = {source for value in values("COPY") for source in value.split()[:-1]}
    assert {"pyproject.toml", project["readme"], *project["license-files"], "src"} <= copied


def test_torch_is_the_pinned_version_of_the_cpu_index():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pattern = re.search(r'grep -E "([^"]+)"', values("RUN")[0])[1]
    found = [line for line in pins if re.search(pattern, line)]
    assert found == ["torch==2.13.0", "torchvision==0.28.0"]
    assert "download.pytorch.org/whl/cpu" in values("RUN")[0]


def test_it_serves_without_being_root_and_looks_after_itself():
    assert values("USER") == ["serve"]
    assert "useradd" in " ".join(values("RUN"))
    words = [word for word, _ in STEPS]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word == "RUN")
    health = values("HEALTHCHECK")[0]
    compile(json.loads(health.partition("CMD ")[2])[2], "<healthcheck>", "exec")
    assert "/ready" in health


def test_the_entry_point_is_a_command_line_that_this_version_takes():
    from typer.testing import CliRunner

    from modicum.cli import app

    command = json.loads(values("ENTRYPOINT")[0])
    assert command[0] == "modicum"
    done = CliRunner().invoke(app, [*command[1:], "/runs/nobody"])
    assert "'/runs/nobody' is not a run folder" in str(done.exception)
