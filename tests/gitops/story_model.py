"""What is expected of one release's history, in plain Python: no git, no files, and of the package only its errors.

It works forwards, commit by commit, where `gitops.history` reads backwards: a revert switches off what it names, and
what that had switched off is on again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gitops.rollback import ChangedByHand
from registry.errors import Conflict, NotFound, Refused, SluiceError


class Running(NamedTuple):
    """Which versions run; no canary is a canary of version 0."""

    stable: int
    canary: int = 0
    weight: int = 0

    @property
    def shares(self) -> Mapping[int, int]:
        shares = {self.stable: 100 - self.weight, self.canary: self.weight}
        return {version: share for version, share in shares.items() if version}


class Tree(NamedTuple):
    """What makes the folder's content: what runs, the settings it was rendered with, and which edit by hand is in."""

    running: Running
    cpu: int = 0
    edit: int = 0


NOTHING = Tree(Running(0))


@dataclass(eq=False)
class Entry:
    """A commit that is there, or, without an id, one that is expected."""

    action: str
    before: Tree
    after: Tree
    version: int | None = None
    decides: Mapping[int, bool] = field(default_factory=dict)
    """By version, whether it is held from now on."""
    takes_back: Sequence[Entry] = ()
    cpu: int | None = None
    """What people's settings say from now on, where that changes."""
    id: str = ""
    alive: bool = True

    @property
    def by_person(self) -> bool:
        return self.action in ("edit", "revert", "settings")

    @property
    def on_stack(self) -> bool:
        return self.action in ("promote", "render", "abort")

    @property
    def of_release(self) -> bool:
        """Whether it is in the history of the release."""
        return self.before != self.after or bool(self.decides) or self.about_holds

    @property
    def about_holds(self) -> bool:
        """Whether it wrote into the file of holds."""
        return self.action in ("hold", "unhold") or any(one.about_holds for one in self.takes_back if self.by_person)


class Undo(NamedTuple):
    """What a rollback takes back, once that is settled."""

    actions: Sequence[Entry]
    over: Sequence[Entry] = ()
    to: Entry | None = None


Expected = Entry | type[SluiceError] | None
"""A commit, an error, or nothing to do."""


class Model:
    """The release of one model in one environment, with all that led to it."""

    def __init__(self) -> None:
        self.tree, self.cpu = NOTHING, 0
        self.entries: list[Entry] = []

    # what is

    @property
    def running(self) -> Running:
        return self.tree.running

    @property
    def by_hand(self) -> bool:
        return self.tree.edit > 0

    @property
    def settled(self) -> bool:
        """Whether the folder is rendered with the settings of now."""
        return not self.by_hand and self.tree.cpu == self.cpu

    @property
    def stack(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.alive and entry.on_stack]

    @property
    def decided(self) -> Mapping[int, tuple[Entry, bool]]:
        """By version, which commit said last whether it is held, and what that said."""
        alive = (entry for entry in self.entries if entry.alive)
        return {version: (entry, is_held) for entry in alive for version, is_held in entry.decides.items()}

    @property
    def held(self) -> set[int]:
        return {version for version, (_, is_held) in self.decided.items() if is_held}

    @property
    def history(self) -> list[Entry]:
        """Of the release, newest first."""
        return [entry for entry in reversed(self.entries) if entry.of_release]

    @property
    def revertible(self) -> list[Entry]:
        """What a person's `git revert` takes back without a conflict: the newest commit, the newest in the folder."""
        moved = [entry for entry in self.entries if entry.before != entry.after]
        found = [entry for entry in (self.entries[-1], moved[-1]) if entry.alive and entry.before != NOTHING]
        return [entry for entry in dict.fromkeys(found) if entry.action != "other"]

    # what happens

    def add(self, entry: Entry, commit_id: str) -> None:
        """The expected commit is there."""
        entry.id = commit_id
        for one in entry.takes_back:
            _switch(one, on=False)
        self.entries.append(entry)
        self.tree = entry.after
        self.cpu = self.cpu if entry.cpu is None else entry.cpu

    def promote(self, version: int, weight: int, unhold: str = "") -> Expected:
        if self.by_hand:
            return ChangedByHand
        stable, canary, _ = self.running
        if canary not in (0, version) or (version == stable and weight < 100):
            return Conflict
        after = Running(version) if weight == 100 else Running(stable, version, weight)
        if after != self.running and version in self.held and not unhold:
            return Refused
        lets_go = {version: False} if unhold and version in self.held else {}
        return self._rendered("promote", after, version, lets_go)

    def render(self) -> Expected:
        return ChangedByHand if self.by_hand else self._rendered("render", self.running)

    def abort(self) -> Expected:
        stable, canary, _ = self.running
        if self.by_hand:
            return ChangedByHand
        return self._rendered("abort", Running(stable), canary, {canary: True}) if canary else None

    def hold(self, version: int) -> Expected:
        return None if version in self.held else Entry("hold", self.tree, self.tree, version, {version: True})

    def unhold(self, version: int) -> Expected:
        return Entry("unhold", self.tree, self.tree, version, {version: False}) if version in self.held else None

    def roll_back(self, **how: object) -> Expected:
        decided = self.decide(**how)
        return self.take_back(decided) if isinstance(decided, Undo) else decided

    def edit(self, number: int) -> Entry:
        return Entry("edit", self.tree, self.tree._replace(edit=number))

    def settings(self, cpu: int) -> Entry:
        return Entry("settings", self.tree, self.tree, cpu=cpu)

    def revert(self, entry: Entry) -> Entry:
        """A person's `git revert`, which holds what it takes out of service."""
        held = {entry.version: True} if entry.action == "promote" and entry.version else {}
        after = entry.before if entry.before != entry.after else self.tree
        was = next((one.cpu for one in reversed(self.entries[:-1]) if one.cpu is not None), 0)
        cpu = None if entry.cpu is None else was
        return Entry("revert", self.tree, after, decides=held, takes_back=(entry,), cpu=cpu)

    def other(self) -> Entry:
        """A commit of another model."""
        return Entry("other", self.tree, self.tree)

    # rolling back

    def decide(
        self,
        steps: int | None = None,
        to_version: int | None = None,
        to_commit: str | None = None,
        restore: bool = False,
    ) -> Undo | type[SluiceError]:
        """What is to be taken back, if the request can be met as things stand."""
        stack, to = self.stack, None
        if steps is not None:
            if steps > len(stack):
                return Refused
            undo = stack[-steps:]
        elif to_version is not None:
            states = [one for one in stack if one.after.running.stable == to_version]
            if not states:
                return NotFound
            to = ([one for one in states if not one.after.running.canary] or states)[-1]
            undo = stack[stack.index(to) + 1 :]
        elif to_commit is not None:
            at = next(index for index, one in enumerate(self.entries) if one.id.startswith(to_commit))
            to = self.entries[at]
            undo = [one for one in stack if one in self.entries[at + 1 :]]
            if undo and undo[0].before != to.after:
                return Refused
        else:
            undo = _newest_release(stack)
            if not undo:
                return Refused
        begun = undo[0] if undo else to
        later = self.entries[self.entries.index(begun) + 1 :] if begun else []
        over = [one for one in later if one.alive and one.by_person and one.after.edit] if restore else []
        if not undo and not over and to and to.after != self.tree:
            return ChangedByHand
        return Undo(undo, [one for one in over if one.before != one.after], None if undo else to)

    def take_back(self, undo: Undo) -> Expected:
        """Take back just that, whatever came in between."""
        stack = self.stack
        taken = [one for one in stack if one in undo.actions]
        if not taken and not undo.over:
            return None
        if len(taken) != len(undo.actions) or (taken and taken != stack[-len(taken) :]):
            return Conflict
        ends, starts = [one.after for one in taken], [*(one.before for one in taken[1:]), self.tree]
        if not undo.over and ends != starts:
            return ChangedByHand
        target = taken[0].before if taken else undo.to.after if undo.to else NOTHING
        now, then = self.running, target.running
        stays = {now.stable} & {then.stable}  # may get back what a trial took from it
        comes_back = {one for one, share in then.shares.items() if one not in stays and share > now.shares.get(one, 0)}
        if target == NOTHING or comes_back & self.held:
            return Refused
        if target == self.tree:
            return None
        held = self._held_by_rollback([*taken, *undo.over], target.running)
        return Entry("rollback", self.tree, target, decides=dict.fromkeys(held, True), takes_back=[*taken, *undo.over])

    def _held_by_rollback(self, taken: Sequence[Entry], target: Running) -> set[int]:
        """Who had gained traffic by what is taken back, but for trials that ended; who leaves; who was held by it."""
        gained, ended = set(), set()
        for one in sorted(taken, key=self.entries.index, reverse=True):
            if one.action == "abort":
                ended.add(one.version)
            elif one.on_stack and one.version not in ended:
                before, after = one.before.running.shares, one.after.running.shares
                gained |= {version for version, share in after.items() if share > before.get(version, 0)}
        leaves = self.running.shares.keys() - target.shares.keys()
        kept = {version for version, (by, is_held) in self.decided.items() if is_held and by in taken}
        return (gained - {target.stable}) | leaves | (kept - target.shares.keys())

    def _rendered(
        self, action: str, running: Running, version: int | None = None, decides: Mapping[int, bool] | None = None
    ) -> Entry | None:
        after = Tree(running, self.cpu)
        return Entry(action, self.tree, after, version, decides or {}) if after != self.tree else None


def _switch(entry: Entry, *, on: bool) -> None:
    entry.alive = on
    for one in entry.takes_back:
        _switch(one, on=not on)


def _newest_release(stack: Sequence[Entry]) -> Sequence[Entry]:
    """Its steps and all after them; a trial that was aborted counts as a part of what was there before it."""
    groups: list[list[Entry]] = []
    for entry in stack:
        newest = groups[-1] if groups else []
        same = newest and newest[0].version == entry.version and not _ended(newest)
        if newest and (entry.version is None or same):
            newest.append(entry)
        elif entry.version is not None:
            groups.append([entry])
    begun = [group[0] for group in groups if not _ended(group)]
    return stack[stack.index(begun[-1]) :] if begun else []


def _ended(group: Sequence[Entry]) -> bool:
    return any(one.action == "abort" for one in group)
