"""Every command in the README and in docs/ is run: blocks marked `sh`, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.cli.app import app

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/README.md",
]
_BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The commands of a page's `sh` blocks."""
    blocks = (match[2] for match in _BLOCK.finditer(page.read_text()))
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


ELSEWHERE = ROOT / "docs/registry.md"  # whose examples are run by test_registry_docs.py


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page) and page != ELSEWHERE], ids=lambda page: page.name
)
def test_the_commands_of_a_page_work(page, tmp_path):
    wanted = commands(page)
    targets = [command.removeprefix("make ") for command in wanted if command.startswith("make ")]
    if targets:  # what they do is run by the gate itself
        subprocess.run(["make", "-n", *targets], cwd=ROOT, check=True, capture_output=True)
    # a virtual environment of its own is what `make demo` leaves: here it is the one that runs the tests
    (tmp_path / ".venv/bin").mkdir(parents=True)
    bin_ = Path(sys.executable).parent
    (tmp_path / ".venv/bin/activate").write_text(f"export PATH={bin_}:$PATH\n")
    script = "\n".join(command for command in wanted if not command.startswith("make "))
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "SLUICE_"))}
    try:
        done = subprocess.run(
            ["sh", "-eux"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    finally:
        if (tmp_path / ".sluice/demo/stack.json").exists():
            subprocess.run([bin_ / "sluice", "demo", "--stop"], cwd=tmp_path, check=False)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    names = [command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    names += [group.name for group in app.registered_groups]
    assert [name for name in names if not re.search(rf"sluice {name}\b", readme)] == []
