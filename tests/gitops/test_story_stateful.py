"""Two writers and a person with plain git, at random, on one real repository, beside a model that says what must come.

Each step is one act by somebody, drawn by weight of those that are possible. What comes of it is told beforehand by
`tests.gitops.story_model`: a commit and all that follows from it, nothing, or a refusal. `HYPOTHESIS_PROFILE=long`
walks for minutes instead of seconds; `--hypothesis-show-statistics` shows how often each act came to what.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, event, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gitops.check import check, check_holds
from gitops.history import held, history
from gitops.message import Identity
from gitops.repository import Repository
from gitops.snapshot import Snapshot
from gitops.stack import actions
from gitops.state import read_release
from registry.errors import SluiceError
from tests.gitops.story_model import Entry, Expected, Model, Running, Undo

FOLDER = "models/fraud/prod"
SERVICE = f"{FOLDER}/manifests/service-stable.yaml"
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
VERSIONS, WEIGHTS = st.integers(1, 6), st.sampled_from([1, 10, 50, 99])
BEGUN = (1, 2, 3)
"""Versions that were stable before a walk begins, or else most of a short walk would be refused."""
EDITS = 4
"""How often a person edits a file in one walk: an edit by hand stands in the way of nearly all else."""


class Ask(NamedTuple):
    """What somebody asks of Sluice: a method of both `Office` and `Model`, with its arguments."""

    name: str
    how: Mapping[str, Any] = {}


class Overtaken:
    """A repository in which somebody else is first: their commit comes between reading the head and the push."""

    def __init__(self, repository: Repository, other: Callable[[], None]) -> None:
        self.repository = repository
        self.other: Callable[[], None] | None = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repository, name)

    def commit(self, intent: Any, **how: Any) -> Any:
        def late(head: Snapshot) -> Any:
            change = intent(head)
            if self.other and change is not None:
                other, self.other = self.other, None
                other()
            return change

        return self.repository.commit(late, **how)


class Start(NamedTuple):
    """A repository to copy for each walk, with its commits, and what all walks share."""

    folder: Path
    ids: list[str]
    parts: tuple[Any, Any, Any]
    done: Counter[tuple[str, str]]
    """How often each act came to what."""
    clean: dict[Any, bool]
    """By content, whether `check` finds nothing wrong."""


class Story(RuleBasedStateMachine):
    """What people and pipelines do to one model in prod, while another model is released beside it."""

    def __init__(self, folder: Path, start: Start) -> None:
        super().__init__()
        shutil.copytree(start.folder, folder)
        self.git, office, person = start.parts
        self.remote, self.done, self.clean = folder / "remote.git", start.done, start.clean
        author = Identity(name="Ann Ops", email="ann@example.org")
        self.repositories = [
            Repository.open(str(self.remote), cache=folder / f"cache{one}", sleep=lambda _: None) for one in (0, 1)
        ]
        self.offices = [office(one, author) for one in self.repositories]
        self.others = [office(one, author, "churn") for one in self.repositories]
        self.person = person(folder / "person", self.git)
        self.model = Model()
        for version, commit_id in zip(BEGUN, start.ids[1:], strict=True):
            expected = self.model.promote(version, 100)
            assert isinstance(expected, Entry)
            self.model.add(expected, commit_id)
        self.first, self.edits, self.churn = start.ids[0], 0, 0
        self.trees = {self.model.tree: self.repositories[0].head().tree_id(FOLDER)}
        self.sound = True

    def teardown(self) -> None:
        try:
            if self.sound:
                self._all_is_there()
        finally:
            for repository in self.repositories:
                repository.close()

    @rule(data=st.data(), writer=st.integers(0, 1))
    def somebody_acts(self, data: st.DataObject, writer: int) -> None:
        possible = [act for act, (weight, may) in ACTS.items() if may(self) for _ in range(weight)]
        act = data.draw(st.sampled_from(possible), "act")
        self.sound = False
        came = getattr(self, f"_{act}")(data, writer)
        self.sound = True
        note(f"  {came}; now {self.model.tree}, held {self.model.held or 'none'}")
        event(f"{act}: {came}")
        self.done[act, came] += 1

    # what writers do

    def _starts(self, data: st.DataObject, writer: int) -> str:
        free = sorted({*range(1, 7)} - self.model.held - {self.model.running.stable}) or [7]
        version = data.draw(st.sampled_from(free), "version")
        return self._asks(writer, Ask("promote", {"version": version, "weight": data.draw(WEIGHTS, "weight")}))

    def _steps(self, data: st.DataObject, writer: int) -> str:
        weight = data.draw(WEIGHTS.filter(lambda one: one != self.model.running.weight), "weight")
        how = {"version": self.model.running.canary, "weight": weight}
        return self._asks(writer, Ask("promote", how))

    def _finishes(self, _: st.DataObject, writer: int) -> str:
        return self._asks(writer, Ask("promote", {"version": self.model.running.canary, "weight": 100}))

    def _promotes_any(self, data: st.DataObject, writer: int) -> str:
        weight = data.draw(st.sampled_from([100, 100, 10]), "weight")
        return self._asks(writer, Ask("promote", {"version": data.draw(VERSIONS, "version"), "weight": weight}))

    def _promotes_a_held_one(self, data: st.DataObject, writer: int) -> str:
        how = {"version": self._a_held_one(data), "weight": data.draw(st.sampled_from([10, 100]), "weight")}
        return self._asks(writer, Ask("promote", how))

    def _brings_back_a_held_one(self, data: st.DataObject, writer: int) -> str:
        weight = data.draw(st.sampled_from([10, 100]), "weight")
        how = {"version": self._a_held_one(data), "weight": weight, "unhold": "fixed"}
        return self._asks(writer, Ask("promote", how))

    def _rolls_back(self, _: st.DataObject, writer: int) -> str:
        return self._asks(writer, Ask("roll_back"))

    def _takes_back_steps(self, data: st.DataObject, writer: int) -> str:
        steps = data.draw(st.integers(1, len(self.model.stack)), "steps")
        return self._asks(writer, Ask("roll_back", {"steps": steps}))

    def _goes_back_to_a_version(self, data: st.DataObject, writer: int) -> str:
        was = sorted({one.after.running.stable for one in self.model.stack} - {self.model.running.stable}) or [6]
        return self._asks(writer, Ask("roll_back", {"to_version": data.draw(st.sampled_from(was), "version")}))

    def _goes_back_to_a_commit(self, data: st.DataObject, writer: int) -> str:
        found = [one.id for one in self.model.history if one.action not in ("hold", "unhold")]
        back = data.draw(st.integers(1, len(found) - 1), "back")
        return self._asks(writer, Ask("roll_back", {"to_commit": found[back][:12]}))

    def _restores(self, data: st.DataObject, writer: int) -> str:
        how = data.draw(st.sampled_from([{}, {"steps": 1}, {"to_version": self.model.running.stable}]), "how")
        return self._asks(writer, Ask("roll_back", {**how, "restore": True}))

    def _aborts(self, _: st.DataObject, writer: int) -> str:
        return self._asks(writer, Ask("abort"))

    def _holds(self, data: st.DataObject, writer: int) -> str:
        return self._asks(writer, Ask("hold", {"version": data.draw(VERSIONS, "version")}))

    def _lets_go(self, data: st.DataObject, writer: int) -> str:
        return self._asks(writer, Ask("unhold", {"version": self._a_held_one(data)}))

    def _renders(self, _: st.DataObject, writer: int) -> str:
        return self._asks(writer, Ask("render"))

    def _releases_another_model(self, _: st.DataObject, writer: int) -> str:
        self.churn += 1
        made = self.others[writer].promote(self.churn)
        self._committed(self.model.other(), self.repositories[writer].at(made.commit))
        return "commit"

    def _is_stopped_by_an_edit(self, data: st.DataObject, writer: int) -> str:
        asks = [Ask("roll_back"), Ask("roll_back", {"steps": 1}), Ask("promote", {"version": 4, "weight": 100})]
        asks += [Ask("abort"), Ask("render")]
        return self._asks(writer, data.draw(st.sampled_from(asks), "ask"))

    def _loses_a_race(self, data: st.DataObject, writer: int) -> str:
        """Decided on one head, and done on the next: what comes is what both ask for in turn, or a refusal."""
        ask = data.draw(
            st.sampled_from([one for one in self._likely() if isinstance(self._expected(one), Entry)]), "ask"
        )
        decided = self.model.decide(**ask.how) if ask.name == "roll_back" else None
        rivals = ["asks", "asks", "asks", "_releases_another_model", "_edits_settings", "_edits_by_hand"]
        rival, other = data.draw(st.sampled_from(rivals), "rival"), 1 - writer
        theirs = data.draw(st.sampled_from(self._likely()), "their ask") if rival == "asks" else None
        came: list[str] = []

        def first() -> None:
            came.append(self._asks(other, theirs) if theirs else getattr(self, rival)(data, other))
            note(f"  first {came[0]} for writer {other}")

        def then() -> Expected:
            return self.model.take_back(decided) if isinstance(decided, Undo) else self._expected(ask)

        office = self.offices[writer]
        late = type(office)(Overtaken(office.repository, first), office.author)
        return f"{self._does(late, ask, then)} after {came[0]}"

    def _likely(self) -> list[Ask]:
        stable, canary, weight = self.model.running
        asks = [
            Ask("roll_back"),
            Ask("roll_back", {"steps": 1}),
            Ask("promote", {"version": 1 + stable % 6, "weight": 100}),
        ]
        asks += [Ask("unhold" if 4 in self.model.held else "hold", {"version": 4})]
        if canary:
            asks += [Ask("abort"), Ask("promote", {"version": canary, "weight": 100 - weight})]
            return [*asks, Ask("promote", {"version": canary, "weight": 100})]
        return asks + [Ask("promote", {"version": 1 + (stable + more) % 6, "weight": 10}) for more in (0, 1, 2)]

    def _a_held_one(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.model.held)), "version")

    # what a person does

    def _edits_by_hand(self, _: st.DataObject, __: int) -> str:
        self.edits += 1
        commit = self.person.commit({SERVICE: f"kind: Mine\nnumber: {self.edits}\n"}, "By hand")
        return self._by_person(self.model.edit(self.edits), commit)

    def _edits_settings(self, _: st.DataObject, __: int) -> str:
        self.edits += 1
        text = f"name: fraud\nresources: {{gpu: 0, cpu: {self.edits}00m}}\n"
        commit = self.person.commit({"models/fraud/model.yaml": text}, "Settings")
        return self._by_person(self.model.settings(self.edits), commit)

    def _takes_the_edit_back(self, _: st.DataObject, __: int) -> str:
        return self._reverts(next(one for one in self.model.revertible if one.after.edit and not one.before.edit))

    def _reverts_something_new(self, data: st.DataObject, _: int) -> str:
        index = data.draw(st.integers(0, len(self.model.revertible) - 1), "which")
        return self._reverts(self.model.revertible[index])

    def _reverts_what_took_back(self, _: st.DataObject, __: int) -> str:
        return self._reverts(next(one for one in self.model.revertible if one.takes_back))

    def _reverts(self, entry: Entry) -> str:
        return self._by_person(self.model.revert(entry), self.person.revert(entry.id))

    def _by_person(self, entry: Entry, commit: str) -> str:
        head = self.repositories[self.edits % 2].head()
        assert head.id == commit
        self._committed(entry, head)
        return "commit"

    # what came of it

    def _asks(self, writer: int, ask: Ask) -> str:
        expected = self._expected(ask)
        return self._does(self.offices[writer], ask, lambda: expected)

    def _expected(self, ask: Ask) -> Expected:
        expected: Expected = getattr(self.model, ask.name)(**ask.how)
        return expected

    def _does(self, office: Any, ask: Ask, then: Callable[[], Expected]) -> str:
        met: SluiceError | None = None
        try:
            made = getattr(office, ask.name)(**ask.how)
        except SluiceError as error:
            met = error
        expected = then()
        if met or not isinstance(expected, Entry):
            assert (type(met) if met else None) is expected, f"{ask} met {met!r}, expected is {expected}"
            assert self._tip() == self.model.entries[-1].id, "it leaves no trace"
            return type(met).__name__ if met else "nothing"
        assert made.commit, f"{ask} did nothing, expected is {expected}"
        self._committed(expected, office.repository.at(made.commit))
        return "commit"

    def _committed(self, expected: Entry, now: Snapshot) -> None:
        """The commit is the newest, its parent is the one before, and everything is as the model says."""
        assert now.commit is not None
        assert now.id == self._tip()
        assert now.commit.parents == (self.model.entries[-1].id,), "no commit is lost"
        before = now.before()
        self.model.add(expected, now.commit.id)
        self._same_folder(now)
        assert before.tree_id("environments") == now.tree_id("environments")
        assert (before.tree_id("models/churn") != now.tree_id("models/churn")) == (expected.action == "other")
        commits = history(now, "fraud", "prod")
        assert [one.id for one in commits] == [one.id for one in self.model.history]
        assert [one.id for one in actions(commits)] == [one.id for one in self.model.stack]
        assert held(commits) == self.model.held
        if expected.of_release:
            assert set(commits[0].reverts) == {one.id for one in expected.takes_back}
            assert commits[0].by_sluice != expected.by_person
        if expected.about_holds:
            assert check_holds(now) == []
        self._checked(now)

    def _same_folder(self, now: Snapshot) -> None:
        """What the model takes for one tree is one tree, of the same id each time, and no other has that id."""
        tree_id = now.tree_id(FOLDER)
        assert self.trees.setdefault(self.model.tree, tree_id) == tree_id
        assert len(set(self.trees.values())) == len(self.trees)
        release = read_release(now, "fraud", "prod")
        assert release is not None
        trial = (release.canary.version, release.canary.weight) if release.canary else ()
        assert self.model.running == Running(release.stable.version, *trial)

    def _checked(self, now: Snapshot) -> None:
        # without the file of holds, which tells the time, and which `check_holds` looks at
        folders = [now.tree_id(path) for path in ("environments", FOLDER, "models/churn")]
        content = (*folders, now.read("models/fraud/model.yaml"))
        if content not in self.clean:
            self.clean[content] = check(now) == []
        assert self.clean[content] == self.model.settled

    def _tip(self) -> str:
        return (self.remote / "refs/heads/main").read_text().strip()

    def _all_is_there(self) -> None:
        listing = self.git(self.remote, "rev-list", "--parents", "main").split("\n")
        ids = [self.first, *(entry.id for entry in self.model.entries)]
        assert listing == [*(f"{one} {before}" for before, one in reversed(list(pairwise(ids)))), ids[0]]
        assert [repository.head().id for repository in self.repositories] == [ids[-1]] * 2
        one, other = (office.history() for office in self.offices)
        assert one == other


def _hand(story: Story) -> bool:
    return story.model.by_hand


def _trial(story: Story) -> bool:
    return story.model.running.canary > 0 and not story.model.by_hand


def _idle(story: Story) -> bool:
    return not story.model.running.canary and not story.model.by_hand


def _free(story: Story) -> bool:
    return not story.model.by_hand


def _holding(story: Story) -> bool:
    return bool(story.model.held) and not story.model.by_hand


ACTS: Mapping[str, tuple[int, Callable[[Story], bool]]] = {
    "starts": (6, _idle),
    "aborts": (5, _trial),
    "steps": (4, _trial),
    "finishes": (4, _trial),
    "promotes_any": (2, _free),
    "promotes_a_held_one": (3, _holding),
    "brings_back_a_held_one": (2, _holding),
    "rolls_back": (5, _free),
    "takes_back_steps": (3, _free),
    "goes_back_to_a_version": (2, _free),
    "goes_back_to_a_commit": (2, _free),
    "loses_a_race": (7, _free),
    "holds": (1, _free),
    "lets_go": (3, _holding),
    "renders": (3, lambda story: not story.model.settled and not story.model.by_hand),
    "releases_another_model": (1, _free),
    "edits_by_hand": (1, lambda story: not story.model.by_hand and story.edits < EDITS),
    "edits_settings": (1, lambda story: story.edits < EDITS),
    "is_stopped_by_an_edit": (9, _hand),
    "restores": (3, _hand),
    "takes_the_edit_back": (3, _hand),
    "reverts_what_took_back": (9, lambda story: any(one.takes_back for one in story.model.revertible)),
    "reverts_something_new": (2, lambda story: bool(story.model.revertible)),
}
"""What may happen, how often beside the others, and when."""


@pytest.fixture
def start(remote: Path, office: Any, person: Callable[[], Any], git: Any, tmp_path: Path) -> Start:
    git(remote, "config", "core.fsync", "none")
    for version in BEGUN:
        office.promote(version)
    somebody = person()
    git(somebody.folder, "remote", "set-url", "origin", "../remote.git")  # as git runs in that folder
    folder = tmp_path / "start"
    folder.mkdir()
    for each in (remote, somebody.folder):
        each.rename(folder / each.name)
    ids = git(folder / "remote.git", "rev-list", "--reverse", "main").split()
    return Start(folder, ids, (git, type(office), type(somebody)), Counter(), {})


def test_all_comes_as_the_model_says(tmp_path: Path, start: Start) -> None:
    walks = iter(range(10_000))
    run_state_machine_as_test(
        lambda: Story(tmp_path / f"walk{next(walks)}", start),
        settings=settings(
            max_examples=40 if LONG else 10,
            stateful_step_count=25 if LONG else 16,
            deadline=None,
            print_blob=True,
            phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),  # real git is slow to shrink
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    for (act, came), times in sorted(start.done.items()):
        print(f"{times:4} {act}: {came}")
    committed = {act for act, came in start.done if came.startswith("commit")}
    assert committed >= {"starts", "rolls_back", "loses_a_race"}, "a walk that does nothing proves nothing"
