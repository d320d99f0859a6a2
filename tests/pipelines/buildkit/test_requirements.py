"""Requirements files: what pip may be given, and that it reads nothing else in it than was looked at."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.buildkit.requirements import REQUIREMENTS_MAX, hashed, parse_requirements
from registry.errors import InvalidInput

HASH = "a" * 64
TAKEN = {
    "numpy": ("numpy",),
    "numpy==1.26.4  # why": ("numpy==1.26.4",),
    "# all\n\nnumpy>=1,<2\n  scipy ~= 1.11": ("numpy>=1,<2", "scipy ~= 1.11"),
    "a[x,y]==1 ; python_version < '3.12'": ("a[x,y]==1 ; python_version < '3.12'",),
    f"a==1 \\\n  --hash=sha256:{HASH} \\\n  --hash=sha256:{HASH}": (
        f"a==1   --hash=sha256:{HASH}   --hash=sha256:{HASH}",
    ),
    "a @ https://example.com/a-1-py3-none-any.whl": ("a @ https://example.com/a-1-py3-none-any.whl",),
    "git+https://example.com/a.git@v1#egg=a": ("git+https://example.com/a.git@v1#egg=a",),
    "--index-url https://pypi.example.com/simple\n-f https://example.com/wheels\na": (
        "--index-url https://pypi.example.com/simple",
        "-f https://example.com/wheels",
        "a",
    ),
    "--extra-index-url=https://pypi.example.com/simple": ("--extra-index-url=https://pypi.example.com/simple",),
    "--pre\n--only-binary :all:\n--require-hashes": ("--pre", "--only-binary :all:", "--require-hashes"),
    "\ufeffnumpy\r\nscipy\r\n": ("numpy", "scipy"),
    "": (),
}


@pytest.mark.parametrize(("text", "lines"), TAKEN.items())
def test_what_pip_can_take_from_an_index_is_taken(text: str, lines: tuple[str, ...]) -> None:
    assert parse_requirements(text.encode(), "requirements.txt") == lines


REFUSED = {
    "a folder": ("./local", "requirements: in-base"),
    "a folder above": ("../local", "requirements: in-base"),
    "a path": ("/srv/wheels/a.whl", "requirements: in-base"),
    "a path without a dot": ("wheels/a", "requirements: in-base"),
    "a wheel beside it": ("a-1-py3-none-any.whl", "requirements: in-base"),
    "an archive beside it": ("a-1.tar.gz", "requirements: in-base"),
    "a home": ("~/a", "requirements: in-base"),
    "a file's address": ("a @ file:///srv/a.whl", "requirements: in-base"),
    "a file's address without a host": ("a @ file:a.whl", "requirements: in-base"),
    "http": ("a @ http://example.com/a.whl", "requirements: in-base"),
    "ssh": ("git+ssh://example.com/a.git", "requirements: in-base"),
    "another path behind an address": ("./x @ https://example.com/a.whl", "requirements: in-base"),
    "another file": ("-r other.txt", "each requirement into the file itself"),
    "another file, long": ("--requirement=other.txt", "each requirement into the file itself"),
    "another file, in one word": ("-rother.txt", "each requirement into the file itself"),
    "constraints": ("-c constraints.txt", "each requirement into the file itself"),
    "an editable folder": ("-e .", "each requirement into the file itself"),
    "an editable address": ("-e git+https://example.com/a.git#egg=a", "each requirement into the file itself"),
    "a host without certificates": ("--trusted-host example.com", "each requirement"),
    "a short form of an option": ("--ind=https://example.com/simple", "each requirement"),
    "an index over http": ("--index-url http://example.com/simple", "an https address"),
    "an index in a folder": ("--find-links ./wheels", "an https address"),
    "two options on a line": ("--pre --trusted-host=x", "each requirement"),
    "an option behind a requirement": ("a --config-settings=x=y", "only --hash"),
    "a short option behind a requirement": ("a -r x", "only --hash"),
    "a hash of another kind": ("a --hash=md5:0123", "only --hash"),
    "an index with a password": ("--index-url https://me:hunter2@example.com/simple", "would end up in the image"),
    "another index with a name": ("--extra-index-url https://hunter2@example.com/s", "would end up in the image"),
    "a package with a password": ("a @ https://x:hunter2@example.com/a.whl", "would end up in the image"),
    "a repository with a token": ("git+https://hunter2@example.com/a.git", "would end up in the image"),
    "a backslash": ("C:\\hunter2\\a", "write it anew"),
    "what a terminal obeys": ("a\x1b[2Jhunter2", "write it anew"),
    "a backslash before a comment": ("a \\ # hunter2", "write it anew"),
}


@pytest.mark.parametrize(("text", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_or_should_not_be_installed_is_refused_by_its_line(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=f"^Line 2 of reqs.*{re.escape(told)}") as caught:
        parse_requirements(f"numpy\n{text}\n".encode(), "reqs")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_text_or_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not UTF-8"):
        parse_requirements(b"\xff\xfe", "reqs")
    with pytest.raises(InvalidInput, match="at most 256 KiB"):
        parse_requirements(b"#" * (REQUIREMENTS_MAX + 1), "reqs")


@pytest.mark.parametrize("line", ["a" + " " * 40_000 + "b", "a" + "\t" * 40_000 + "\\\n b"])
def test_a_line_of_spaces_costs_about_as_much_as_one_of_letters(line: str) -> None:
    def seconds(text: str) -> float:
        begun = time.process_time()
        with suppress(InvalidInput):
            parse_requirements(text.encode(), "reqs")
        return time.process_time() - begun

    seconds(line[:10])
    assert seconds(line) < 50 * min(seconds("a" * len(line)) for _ in range(3))


def test_a_hash_anywhere_makes_pip_want_all() -> None:
    assert hashed(("a", f"b==1 --hash=sha256:{HASH}"))
    assert hashed(("--require-hashes", "a"))
    assert not hashed(("a", "b==1"))


WORDS = ["numpy", "==1", "-r", "-e", "--pre", "--index-url", "https://", "x/y", "./", "[a]", f"--hash=sha256:{HASH}"]
SIGNS = [
    " ",
    "\n",
    "\\\n",
    "\\",
    "#",
    " #",
    "=",
    "@",
    "\r",
    "\x0b",
    "\x0c",
    "\x85",
    "\u2028",
    "\t",
    ";",
    "user:pw@",
    "é",
]
PIECES = st.lists(st.sampled_from(WORDS) | st.sampled_from(SIGNS), max_size=14).map("".join)


@given(PIECES)
@example("a\\\n-r x")
@example("a #\\\n-r x")
def test_pip_reads_in_what_is_let_through_no_line_that_was_not_looked_at(text: str) -> None:
    try:
        lines = parse_requirements(text.encode(), "reqs")
    except InvalidInput:
        return
    # pip joins and splits lines, and cuts comments, as in its req_file.py; on what comes out it must find nothing to do
    written = "".join(f"{line}\n" for line in lines)
    assert tuple(written.splitlines()) == lines
    for line in lines:
        assert not line.endswith("\\")
        assert not re.search(r"(^|\s)#", line)
        assert re.match(r"[A-Za-z0-9]|--(pre|index-url|hash)", line)
        for address in re.findall(r"https://\S+", line):
            with suppress(ValueError):  # no address at all, which pip will say
                assert urlsplit(address).username is None
    assert parse_requirements(written.encode(), "reqs") == lines
