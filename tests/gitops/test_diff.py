"""What a change would do, in words."""

from __future__ import annotations

import pytest

from gitops.diff import in_words, preview
from gitops.layout import release_file
from gitops.release import Canary, Deployed, Release, Runtime
from gitops.state import release_yaml
from gitops.tree import Change, Files


def deployed(version: int, image: int | None = None) -> Deployed:
    reference = f"registry.example/fraud@sha256:{image or version:064x}"
    return Deployed(version=version, image=reference, runtime=Runtime.TORCHSERVE)


def release(stable: Deployed | int, canary: Deployed | int | None = None, weight: int = 10) -> Release:
    one, other = (deployed(each) if isinstance(each, int) else each for each in (stable, canary or 1))
    trial = Canary(**other.model_dump(), weight=weight) if canary else None
    return Release(model="fraud", environment="prod", stable=one, canary=trial)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, None, ""),
        (release(6), release(6), ""),
        (None, release(1), "stable v1 is the first version there"),
        (release(6), None, "stable v6 is gone"),
        (release(6, 7), None, "stable v6 is gone; canary v7 at 10 %"),
        (release(6), release(6, 7), "canary v7 starts at 10 %; stable stays v6"),
        (release(6, 7), release(6, 7, 25), "canary v7 from 10 % to 25 %; stable stays v6"),
        (release(6, 7, 25), release(6, 7, 10), "canary v7 from 25 % to 10 %; stable stays v6"),
        (release(6, 7, 25), release(7), "canary v7 becomes stable in place of v6"),
        (release(6, 7, 25), release(6), "canary v7 at 25 % is gone; stable stays v6"),
        (release(6), release(7), "stable goes from v6 to v7"),
        (release(7), release(6, 7, 50), "canary v7 starts at 50 %; stable goes from v7 to v6"),
        (release(6, 7), release(6, 8), "canary v7 at 10 % is gone; canary v8 starts at 10 %; stable stays v6"),
        (release(6), release(deployed(6, 9)), "stable stays v6 with another image"),
        (release(6, 7), release(6, deployed(7, 9)), "canary v7 stays at 10 % with another image; stable stays v6"),
        (
            release(6, 7),
            release(6, deployed(7, 9), 20),
            "canary v7 from 10 % to 20 % with another image; stable stays v6",
        ),
    ],
)
def test_in_words(before: Release | None, after: Release | None, words: str) -> None:
    assert in_words(before, after) == (f"fraud in prod: {words}" if words else "")


_PATH = release_file("fraud", "prod")


def test_a_preview_has_words_and_yaml() -> None:
    tree = Files({_PATH: release_yaml(release(6, 7, 10)), "models/fraud/prod/manifests/a.yaml": b"a: 1\n"})
    writes = {_PATH: release_yaml(release(6, 7, 25)), "models/fraud/prod/manifests/a.yaml": b"a: 2\n"}
    found = preview(tree, Change(writes=writes, subject="fraud: prod canary v7 at 25 %"), "fraud", "prod")
    assert found.words == "fraud in prod: canary v7 from 10 % to 25 %; stable stays v6; changes 2 files"
    assert found.files == ["models/fraud/prod/manifests/a.yaml", _PATH]
    assert "-  weight: 10\n+  weight: 25\n" in found.diff
    assert found.text.startswith(f"{found.words}\nfraud: prod canary v7 at 25 %\n\n--- a/models/")


def test_a_preview_of_what_changes_no_release_or_removes_it() -> None:
    path = "models/fraud/prod/manifests/a.yaml"
    tree = Files({_PATH: release_yaml(release(6)), path: b"a: 1\n"})
    found = preview(tree, Change(writes={path: None}, subject="s"), "fraud", "prod")
    assert found.words == "fraud in prod: no version and no weight changes; changes 1 file"
    assert found.diff.endswith("+++ /dev/null\n@@ -1 +0,0 @@\n-a: 1\n")
    gone = preview(tree, Change(writes={_PATH: None, path: None}, subject="s"), "fraud", "prod")
    assert gone.words == "fraud in prod: stable v6 is gone; changes 2 files"


def test_a_file_that_is_no_text_is_named_only() -> None:
    found = preview(Files({}), Change(writes={"b.bin": b"\xff\xfe"}, subject="s"), "fraud", "prod")
    assert found.diff == "Binary file b.bin differs\n"
