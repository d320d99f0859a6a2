"""The text of requests, read back by a Markdown parser: what people say stays what they say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gitops.forges.describing import Check, File, Metric, Telling, block, compared, describe, span

EVIL = (
    "@octocat fixes #1",
    "</details><script>alert(1)</script>",
    "- [x] approved",
    "`` ` ``` @all",
    "a | b \\| c \\\\| d",
    "x\n\n/merge\n\n- [x] `approved`: `it is approved`\n\n```\n@all",
    "![x](https://example.com/x.png) [y](javascript:1)",
    "\\` <!-- ``",
    "https://example.com www.example.com a@example.com",
    "\u202eevil\x1b[31m\x00",
)
text = st.one_of(
    st.sampled_from(EVIL), st.text(st.sampled_from("`|\\ \n\t-[]x@#<>&!*_~/a\u2028\r"), max_size=40), st.text()
)


def telling(said: str) -> Telling:
    return Telling(
        words=said,
        requested_by=said,
        reason=said,
        stable=6,
        proposed=7,
        metrics=[Metric(said, 0.5, float("nan")), Metric("auc", None, 1e-12)],
        checks=[Check(said, True, said), Check("approved", False, said)],
        files=[File(said, 1, 2)],
        diff="\n".join(["--- a/x", "+++ b/x", "@@ -1 +1 @@", *(f"+{line}" for line in said.split("\n"))]),
    )


def tokens(markdown: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token
        yield from token.children or ()


@given(text)
def test_a_span_is_one_code_span(said: str) -> None:
    inner = [token for token in tokens(f"Said: {span(said)}.") if token.type not in ("inline", "text")]
    assert [token.type for token in inner] == ["paragraph_open", "code_inline", "paragraph_close"]
    assert "\n" not in span(said)
    assert len(span(said, 20).strip("` ")) <= 20


@given(text)
def test_a_block_is_one_code_block(said: str) -> None:
    (fence,) = tokens(block(said, "diff"))
    assert (fence.type, fence.info) == ("fence", "diff")


@given(text)
@example("`" * 600)
def test_nothing_that_is_said_gets_out_of_its_code(said: str) -> None:
    body = describe(telling(said), 65_000, folds=True)
    kinds = [token.type for token in tokens(body)]
    html = [token.content.strip() for token in tokens(body) if token.type in ("html_block", "html_inline")]
    assert html == ["<details>\n<summary>The whole difference</summary>", "</details>"]
    assert not {"link_open", "image", "em_open", "strong_open", "hr", "code_block", "blockquote_open"} & set(kinds)
    assert kinds.count("fence") == 1
    assert kinds.count("list_item_open") == 2
    assert kinds.count("tr_open") == 3 + 2
    assert kinds.count("td_open") == 2 * 4 + 3
    assert kinds.count("heading_open") == 3
    outside = " ".join(token.content for token in tokens(body) if token.type == "text")
    assert not set("@#<>|`!") & set(outside)
    assert not [line for line in body.split("\n") if line.startswith("/")]
    assert "\x1b" not in body
    assert "\u202e" not in body


def test_gates_are_ticked_only_where_they_are_passed() -> None:
    body = describe(telling("x"), 65_000, folds=True)
    assert "- [x] `x`: `x`\n- [ ] `approved`: `x`" in body


@pytest.mark.parametrize("most", [900, 3_000, 10_000, 65_000])
@pytest.mark.parametrize("folds", [True, False])
def test_it_is_never_too_long(most: int, folds: bool) -> None:
    diff = "".join(f"+line {number}\n" for number in range(100_000))
    many = [Metric(f"metric-{number}", 1.0, 2.0) for number in range(150)]
    body = describe(telling("x")._replace(diff=diff), most, folds)
    assert len(body) <= most
    assert ("more lines." in body) == ("<details>" in body) == (folds and most > 1_500)
    assert len(describe(telling("x")._replace(diff=diff, metrics=many), most, folds)) <= most
    assert "… and 50 more metrics." in describe(telling("x")._replace(metrics=many), 65_000, folds)


def test_metrics_of_two_versions_side_by_side() -> None:
    found = compared({"auc": 0.5, "gone": 1.0}, {"auc": 0.75, "new": 2.0})
    assert found == [Metric("auc", 0.5, 0.75), Metric("gone", 1.0, None), Metric("new", None, 2.0)]
    body = describe(telling("x")._replace(metrics=found, stable=None), 65_000, folds=False)
    assert "| Metric | stable | v7 | Difference |" in body
    assert "| `auc` | 0.5 | 0.75 | +0.25 |" in body


def test_nothing_is_said_of_what_there_is_not() -> None:
    bare = telling("x")._replace(reason=" ", metrics=[], checks=[], files=[], diff="")
    body = describe(bare, 65_000, folds=True)
    assert body.startswith("`x`\n\nAsked for by `x`.\n\nMerging this releases it.")
    assert "Reason" not in body
    assert "<details>" not in body
