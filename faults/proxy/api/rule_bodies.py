"""Rules as JSON: what a client may ask for, what it is told when it asks for nonsense, and what it gets to see.

Unlike toxics, whose unknown members are ignored as in the real server, a rule with a member that does not exist is
refused: a misspelt `nth` would otherwise fire on everything.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Any, TypeVar

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.errors import ApiError
from taskchaos.faults.proxy.gojson import Number
from taskchaos.faults.proxy.redis.capture import wrong_with
from taskchaos.faults.proxy.redis.rules import Action, CommandRule, Match, Place, RuleSpec, Scope

_LONGEST_MS = 30 * 86_400_000
_MATCH = ("command", "script", "key", "argument", "connection")
_MEMBERS = (
    *("name", "match", "at", "action", "delay", "error", "mute", "nth", "every", "first", "times"),
    *("scope", "group", "after", "for", "capture"),
)
_Choice = TypeVar("_Choice", bound=StrEnum)


def _bad(detail: str) -> ApiError:
    return ApiError(f"bad rule: {detail}", 400)


def members(body: bytes) -> dict[str, object]:
    """The members of the body, which must be an object."""
    value = gojson.decode(body)
    if not isinstance(value, dict):
        raise _bad("it must be a JSON object")
    return value


def read_rule(given: Mapping[str, object], present: RuleSpec | None = None) -> RuleSpec:
    """The rule that a body asks for; with `present`, that rule changed by the members that are given.

    Raises ApiError 400 with what is wrong.
    """
    _known(given, _MEMBERS, "a rule")
    old = present or RuleSpec("", Match(), Place.BEFORE, Action.RESET)
    if present is None:
        for name in ("at", "action"):
            if given.get(name) is None:
                raise _bad(f"missing required member: {name}")
    elif given.get("name", present.name) != present.name:
        raise _bad("a rule keeps its name")
    spec = replace(
        old,
        name=_text(given, "name", old.name),
        match=_match(given.get("match"), old.match),
        at=_choice(given, "at", Place, old.at),
        action=_choice(given, "action", Action, old.action),
        delay_ms=_whole(given, "delay", old.delay_ms, _LONGEST_MS),
        error=_text(given, "error", old.error),
        mute=_flag(given, "mute", old.mute),
        nth=_whole(given, "nth", old.nth),
        every=_whole(given, "every", old.every),
        first=_whole(given, "first", old.first),
        times=_whole(given, "times", old.times),
        scope=_choice(given, "scope", Scope, old.scope),
        group=_text(given, "group", old.group),
        after_ms=_whole(given, "after", old.after_ms, _LONGEST_MS),
        for_ms=_whole(given, "for", old.for_ms, _LONGEST_MS),
        capture=_text(given, "capture", old.capture),
    )
    if present is not None and (spec.scope, spec.group) != (present.scope, present.group):
        raise _bad("a rule keeps its scope and group; remove it and add another")
    _check(spec)
    return spec


def _check(spec: RuleSpec) -> None:
    """What the members must be together."""
    if sum(1 for count in (spec.nth, spec.every, spec.first) if count) > 1:
        raise _bad("only one of nth, every and first can be given")
    if (spec.action in (Action.DELAY, Action.MEET)) is not (spec.delay_ms > 0):
        raise _bad("delay (ms, more than 0) goes with the actions delay and meet, and only with them")
    if spec.action is Action.MEET and spec.at is not Place.BEFORE:
        raise _bad("meet is for commands that have not been executed: at before")
    if (spec.action is Action.ERROR) is not bool(spec.error):
        raise _bad('error (a text such as "OOM command not allowed") goes with the action error, and only with it')
    if spec.error and (not spec.error.split() or any(ord(character) < 32 for character in spec.error)):
        raise _bad("error must be one line of text")
    if spec.mute and spec.action is not Action.SILENCE:
        raise _bad("mute goes with the action silence only")
    if (spec.scope is Scope.GROUP) is not bool(spec.group):
        raise _bad("group goes with the scope group, and only with it")
    if why_not := wrong_with(spec.capture):
        raise _bad(f"capture: {why_not}")


def _known(given: Mapping[str, object], names: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in names:
            raise _bad(f"{what} has no member {name!r}; it has {', '.join(names)}")


def _match(value: object, old: Match) -> Match:
    if value is None:
        return old
    if not isinstance(value, dict):
        raise _bad("match must be an object")
    _known(value, _MATCH, "match")
    commands = old.commands
    given = value.get("command")
    if given is not None:
        names = given if isinstance(given, list) else [given]
        if not all(isinstance(name, str) and name for name in names):
            raise _bad("match.command must be a name, or a list of names")
        commands = tuple(str(name).upper() for name in names)
    texts = {name: _text(value, name, getattr(old, name), "match.") for name in _MATCH[1:]}
    return Match(commands, **texts)


def _text(given: Mapping[str, object], name: str, old: str, path: str = "") -> str:
    value = given.get(name)
    if value is None:
        return old
    if not isinstance(value, str):
        raise _bad(f"{path}{name} must be a text")
    return value


def _flag(given: Mapping[str, object], name: str, old: bool) -> bool:
    value = given.get(name)
    if value is None:
        return old
    if not isinstance(value, bool):
        raise _bad(f"{name} must be true or false")
    return value


def _whole(given: Mapping[str, object], name: str, old: int, most: int = 2**53) -> int:
    value = given.get(name)
    if value is None:
        return old
    if isinstance(value, Number) and value.literal.isdigit() and len(value.literal) < 17:
        number = int(value.literal)
        if number <= most:
            return number
    raise _bad(f"{name} must be a whole number from 0 to {most}")


def _choice(given: Mapping[str, object], name: str, choices: type[_Choice], old: _Choice) -> _Choice:
    value = given.get(name)
    if value is None:
        return old
    if isinstance(value, str) and value in set(choices):
        return choices(value)
    raise _bad(f"{name} must be one of {', '.join(choices)}")


def rule_json(rule: CommandRule) -> dict[str, Any]:
    spec, match = rule.spec, rule.spec.match
    return {
        "name": spec.name,
        "match": {"command": list(match.commands), **{name: getattr(match, name) for name in _MATCH[1:]}},
        "at": spec.at.value,
        "action": spec.action.value,
        "delay": spec.delay_ms,
        "error": spec.error,
        "mute": spec.mute,
        "nth": spec.nth,
        "every": spec.every,
        "first": spec.first,
        "times": spec.times,
        "scope": spec.scope.value,
        "group": spec.group,
        "after": spec.after_ms,
        "for": spec.for_ms,
        "capture": spec.capture,
        "state": "active" if rule.active else "over" if rule.over else "waiting",
        "seen": rule.tally.seen,
        "fired": rule.fired,
        "held": len(rule.held),
        "firings": [asdict(firing) for firing in rule.firings],
    }
