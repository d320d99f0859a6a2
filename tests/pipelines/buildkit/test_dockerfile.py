"""The Dockerfile of an extended base: whatever is in it, it holds the expected instructions and no others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from gitops.config import ImageSettings
from pipelines.buildkit.dockerfile import context_files, dockerfile
from pipelines.buildkit.instructions import parse_instructions
from pipelines.buildkit.needs import Needs
from registry.errors import InvalidInput

SOURCE = "registry.example.com/bases/serve@sha256:" + "0" * 64
RECIPE = "1" * 64
HASH = "a" * 64


def made(needs: Needs, source: str = SOURCE) -> str:
    return dockerfile(needs, source, RECIPE, 1000).decode()


def read(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, as BuildKit's parser.go reads one: written anew here, to compare with."""
    lines, found = iter(text.split("\n")), []
    for line in lines:
        whole = line.lstrip()
        if not whole or whole.startswith("#"):
            continue
        while re.search(r"\\[ \t]*$", whole):
            whole = re.sub(r"\\[ \t]*$", "", whole)
            following = next((more for more in lines if more.strip() and not more.lstrip().startswith("#")), None)
            if following is None:
                break
            whole += following
        name, _, rest = whole.strip().partition(" ")
        found.append((name.upper(), rest))
        if name.upper() in {"RUN", "COPY", "ADD"}:
            for word in re.findall(r"<<-?[\"']?(\w+)", rest):
                while next(lines, word) != word:
                    pass
    return found


def test_nothing_but_what_is_needed_is_in_it() -> None:
    assert made(Needs()) == (
        "# Made by Sluice: a base image, and what a model needs beside it.\n"
        f"FROM {SOURCE}\n"
        "USER 0:0\n"
        f'LABEL dev.sluicegate.base.recipe="{RECIPE}"\n'
        "USER 1000:1000\n"
    )


def test_the_whole_of_it() -> None:
    settings = ImageSettings(
        dockerfile="# for the fonts\nRUN fc-cache \\\n    --force\nENV MODE=fast\n",
        systemPackages=("libsndfile1", "libgomp1=12.2.0-14", "libgomp1=12.2.0-14"),
        pythonPackages=("scipy>=1.11", "numpy==1.26.4"),
    )
    assert made(Needs.of(settings, ("requests",))) == (
        "# Made by Sluice: a base image, and what a model needs beside it.\n"
        f"FROM {SOURCE}\n"
        "USER 0:0\n"
        "RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\\n"
        "    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \\\n"
        "    apt-get update && \\\n"
        "    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \\\n"
        "    libgomp1=12.2.0-14 \\\n"
        "    libsndfile1 \\\n"
        "    && rm -f \\\n"
        "    /var/cache/ldconfig/aux-cache \\\n"
        "    /var/log/alternatives.log \\\n"
        "    /var/log/apt/history.log \\\n"
        "    /var/log/apt/term.log \\\n"
        "    /var/log/dpkg.log\n"
        "RUN --mount=type=cache,target=/root/.cache/pip \\\n"
        "    --mount=type=bind,target=/run/sluice \\\n"
        "    PIP_BREAK_SYSTEM_PACKAGES=1 \\\n"
        "    PIP_DISABLE_PIP_VERSION_CHECK=1 \\\n"
        "    PIP_ROOT_USER_ACTION=ignore \\\n"
        "    python3 -m pip install --no-input --no-compile --cache-dir=/root/.cache/pip \\\n"
        "    --requirement=/run/sluice/requirements.txt \\\n"
        "    --requirement=/run/sluice/packages.txt\n"
        "RUN fc-cache     --force\n"
        "ENV MODE=fast\n"
        f'LABEL dev.sluicegate.base.recipe="{RECIPE}"\n'
        "USER 1000:1000\n"
    )


def test_packages_are_in_files_that_only_the_build_sees() -> None:
    needs = Needs.of(ImageSettings(pythonPackages=("b==2", "a[x]>=1; python_version < '3.13'")), ("requests", "--pre"))
    assert context_files(needs) == {
        "requirements.txt": b"requests\n--pre\n",
        "packages.txt": b"a[x]>=1; python_version < '3.13'\nb==2\n",
    }
    assert context_files(Needs()) == {}


def test_hashes_are_not_asked_for_where_there_are_none() -> None:
    needs = Needs.of(ImageSettings(pythonPackages=("b==2",)), (f"a==1 --hash=sha256:{HASH}",))
    runs = [rest for name, rest in read(made(needs)) if name == "RUN"]
    assert [re.findall(r"--requirement=\S+", run) for run in runs] == [
        ["--requirement=/run/sluice/requirements.txt"],
        ["--requirement=/run/sluice/packages.txt"],
    ]


def test_what_is_in_the_base_is_not_installed() -> None:
    assert Needs.of(ImageSettings(requirements="in-base"), ("requests",)) == Needs()
    assert not Needs()
    assert str(Needs.of(ImageSettings(systemPackages=("a1",), dockerfile="ENV A=b"), ("requests",))) == (
        "system packages, its requirements.txt, its own Dockerfile instructions"
    )


def test_a_python_package_that_is_an_option_or_a_file_is_refused() -> None:
    for package in ("x --pre", "x-1.whl"):
        with pytest.raises(InvalidInput, match=r"image\.pythonPackages in model\.yaml"):
            Needs.of(ImageSettings(pythonPackages=(package,)))


def test_a_recipe_names_all_that_a_base_depends_on() -> None:
    def recipe(
        base: str = "sha256:" + "0" * 64, platform: str = "linux/amd64", user: int = 1000, **settings: object
    ) -> str:
        return Needs.of(ImageSettings.model_validate(settings)).recipe(base, platform, user)

    same = recipe(systemPackages=["b1", "a1"], pythonPackages=["y", "x"], dockerfile="RUN a")
    assert same == recipe(systemPackages=["a1", "b1", "a1"], pythonPackages=["x", "y"], dockerfile="# news\nRUN  a\n\n")
    others = [
        recipe(),
        recipe(base="sha256:" + "1" * 64),
        recipe(platform="linux/arm64"),
        recipe(user=1001),
        recipe(systemPackages=["a1"]),
        recipe(pythonPackages=["a1"]),
        recipe(dockerfile="RUN a1"),
        Needs(requirements=("a1",)).recipe("sha256:" + "0" * 64, "linux/amd64", 1000),
    ]
    assert len({same, *others}) == len(others) + 1
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in (same, *others))


BASES = ["serve", "registry/serve:tag", SOURCE + "\nRUN x", "oci:/a b", "oci:/a\nRUN x", "oci:$HOME", "oci:/a:b:c"]


@pytest.mark.parametrize("source", BASES)
def test_a_base_without_a_digest_or_with_a_strange_name_is_refused(source: str) -> None:
    with pytest.raises(InvalidInput):
        made(Needs(), source)


def test_a_base_may_lie_in_a_folder() -> None:
    assert read(made(Needs(), "oci:/srv/bases/tiny-1.0:latest"))[0] == ("FROM", "oci:/srv/bases/tiny-1.0:latest")


TAKEN = {
    "run a\nRUN b": ["RUN a", "RUN b"],
    "RUN a && \\\n  # why\n\n  b": ["RUN a &&   b"],
    "RUN a \\\r\n b\r\n": ["RUN a  b"],
    '\tRUN ["a", "b"]  ': ['RUN ["a", "b"]'],
    "COPY --from=ghcr.io/a/b:1 /x /y": ["COPY --from=ghcr.io/a/b:1 /x /y"],
    "ADD --checksum=sha256:0 https://example.com/x /y": ["ADD --checksum=sha256:0 https://example.com/x /y"],
    'USER 1000\nWORKDIR /x\nARG A=b\nSHELL ["bash"]\nLABEL a=b': [
        "USER 1000",
        "WORKDIR /x",
        "ARG A=b",
        'SHELL ["bash"]',
        "LABEL a=b",
    ],
    "# syntax=evil\n# escape=`\nENV A=`": ["ENV A=`"],
    "": [],
}


@pytest.mark.parametrize(("text", "lines"), TAKEN.items())
def test_instructions_of_peoples_own_are_taken(text: str, lines: list[str]) -> None:
    assert [str(instruction) for instruction in parse_instructions(text)] == lines


REFUSED = {
    "another stage": ("FROM x", "has a FROM"),
    "another stage, in two lines": ("fr\\\nom x", "has a FROM"),
    "a command": ('CMD ["x"]', "CMD, which Sluice sets"),
    "an entry point": ("ENTRYPOINT x", "ENTRYPOINT, which Sluice sets"),
    "a trigger": ("ONBUILD RUN x", "'ONBUILD' where an instruction"),
    "a volume": ("VOLUME /x", "'VOLUME' where an instruction"),
    "no instruction": ("hello", "'HELLO' where an instruction"),
    "an instruction with nothing behind it": ("RUN", "'RUN' where an instruction"),
    "a file": ("COPY handler.py /x", "COPY --from=<image>"),
    "a file from a variable": ("COPY --from=$X a b", "COPY --from=<image>"),
    "a file, in JSON": ('COPY ["a", "b"]', "COPY --from=<image>"),
    "a local archive": ("ADD a.tar /x", "ADD https://"),
    "a file over http": ("ADD http://example.com/x /y", "ADD https://"),
    "an archive among others": ("ADD https://example.com/x a.tar /y", "ADD https://"),
    "nothing added": ("ADD https://example.com/x", "ADD https://"),
    "a here document": ("RUN <<EOF\nFROM x\nEOF", "<< in RUN"),
    "an open end": ("RUN a \\\n", "ends in the middle"),
    "an open end behind a comment": ("RUN a \\\n# b", "ends in the middle"),
    "two backslashes": ("RUN a \\\\\nRUN b", "two backslashes"),
    "a character of no width": ("RUN a\u200b", "cannot be seen"),
    "a space of another kind": ("\u00a0# a", "cannot be seen"),
    "a null": ("RUN a\0b", "cannot be seen"),
    "a return alone": ("RUN a\rRUN b", "cannot be seen"),
    "a line separator": ("RUN a\u2028RUN b", "cannot be seen"),
}


@pytest.mark.parametrize(("text", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_instructions_that_have_no_place_are_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(told)):
        parse_instructions(f"ENV A=b\n{text}")


WORDS = ["FROM x", "RUN a", "USER 0", "COPY --from=x a b", "ENV A=b", "CMD x", "<<EOF", "EOF", "$(x)", "&&", "é"]
SIGNS = [
    "#",
    " ",
    "\t",
    "\n",
    "\\",
    "\\\n",
    "\\ \n",
    "\\\\\n",
    "\r",
    "\r\n",
    "\u00a0",
    "\u2028",
    "\ufeff",
    "`",
    "'",
    '"',
]
PIECES = st.lists(st.sampled_from(WORDS) | st.sampled_from(SIGNS), max_size=16).map("".join)


@st.composite
def everything(draw: st.DrawFn) -> Needs:
    """Needs with whatever the settings let through."""

    def some(alphabet: str) -> list[str]:
        return draw(st.lists(st.text(st.sampled_from(alphabet), min_size=1, max_size=12), max_size=3))

    try:
        settings = ImageSettings(
            dockerfile=draw(PIECES),
            systemPackages=tuple(some("ab1+.-=~:;$ \n'\"\\&")),
            pythonPackages=tuple(some("ab1[]<>=!~ ;'\"-.,\n\\#$")),
        )
        return Needs.of(settings)
    except (ValidationError, InvalidInput):
        return Needs.of(
            ImageSettings(systemPackages=tuple(some("ab1")[:1])) if draw(st.booleans()) else ImageSettings()
        )


@given(everything())
def test_settings_put_nothing_into_the_dockerfile_but_what_they_say(needs: Needs) -> None:
    found = read(made(needs))
    ours = [f"RUN {what}" for what, there in (("apt", needs.system_packages), ("pip", needs.python_packages)) if there]
    names = [
        "FROM",
        "USER",
        *(name.split()[0] for name in ours),
        *(i.name for i in needs.instructions),
        "LABEL",
        "USER",
    ]
    assert [name for name, _ in found] == names
    assert found[0] == ("FROM", SOURCE)
    assert found[-1] == ("USER", "1000:1000")
    people = found[2 + len(ours) : -2]
    assert [f"{name} {rest}" for name, rest in people] == [str(one) for one in needs.instructions]
    if needs.system_packages:
        words = list(commands(found[2][1]))
        at = words.index("--no-install-recommends")
        assert words[at + 1 : words.index("&&", at)] == list(needs.system_packages)


@given(PIECES)
@example("RUN a \\\n\\\nFROM x")
@example("\\\nFROM x")
@example("RUN a\\ \n \\\n# b\nUSER 5")
def test_instructions_are_read_as_buildkit_reads_them(text: str) -> None:
    try:
        instructions = parse_instructions(text)
    except InvalidInput:
        return
    assert [(name, " ".join(rest.split())) for name, rest in read(text.replace("\r\n", "\n"))] == [
        (one.name, " ".join(one.rest.split())) for one in instructions
    ]
    assert parse_instructions("\n".join(map(str, instructions))) == instructions


def commands(run: str) -> Iterator[str]:
    """The words of a RUN, as a shell reads them, without its mounts."""
    return (word for word in shlex.split(run) if not word.startswith("--mount="))
