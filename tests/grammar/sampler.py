"""Random texts of a grammar, to see what a model held to it might write."""

from __future__ import annotations

import random
import re

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<literal>"(?:[^"\\]|\\.)*")
    |(?P<chars>\[(?:[^\]\\]|\\.)*\])
    |(?P<repeat>\{\d+(?:,\d*)?\}|[*+?])
    |(?P<name>[a-zA-Z0-9-]+)
    |(?P<mark>[()|])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-F]{2})|u([0-9A-F]{4})|U([0-9A-F]{8})|(.))")
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
Node = tuple  # of a kind and what belongs to it


class Grammar:
    """A grammar that :func:`sample` draws texts from. It reads what the compiler writes, not all of GBNF."""

    def __init__(self, text: str) -> None:
        self.rules: dict[str, Node] = {}
        for line in text.splitlines():
            name, _, rule = line.partition(" ::= ")
            assert name not in self.rules, name
            tokens = self._tokens(rule)
            self.rules[name] = self._alternatives(tokens)
            assert not tokens, (name, tokens)

    def sample(self, rng: random.Random, budget: int = 400) -> str:
        """A text. After ``budget`` steps the shortest way out is taken where there is a choice."""
        self._budget = budget
        self._rng = rng
        self._depths = self._shortest()
        return self._draw(self.rules["root"])

    def _tokens(self, rule: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(rule.rstrip()):
            match = _TOKEN.match(rule, at)
            assert match is not None and match.lastgroup is not None, rule[at:]
            tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return tokens

    def _alternatives(self, tokens: list[tuple[str, str]]) -> Node:
        options = [self._sequence(tokens)]
        while tokens and tokens[0] == ("mark", "|"):
            tokens.pop(0)
            options.append(self._sequence(tokens))
        return ("or", options)

    def _sequence(self, tokens: list[tuple[str, str]]) -> Node:
        items: list[Node] = []
        while tokens and tokens[0] not in (("mark", "|"), ("mark", ")")):
            kind, text = tokens.pop(0)
            if kind == "repeat":
                bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(text)
                if bounds is None:
                    low, comma, high = text[1:-1].partition(",")
                    bounds = (int(low), int(high) if high else None if comma else int(low))
                items[-1] = ("repeat", items[-1], *bounds)
            elif kind == "mark":
                items.append(self._alternatives(tokens))
                assert tokens.pop(0) == ("mark", ")")
            elif kind == "literal":
                items.append(("text", _unescaped(text[1:-1])))
            elif kind == "chars":
                items.append(("chars", _ranges(text[1:-1])))
            else:
                items.append(("rule", text))
        return ("and", items)

    def _shortest(self) -> dict[str, float]:
        """How deep each rule must go at least."""
        depths = dict.fromkeys(self.rules, float("inf"))
        while True:
            new = {name: 1 + self._depth(node, depths) for name, node in self.rules.items()}
            if new == depths:
                return depths
            depths = new

    def _depth(self, node: Node, depths: dict[str, float]) -> float:
        match node:
            case ("or", options):
                return min(self._depth(option, depths) for option in options)
            case ("and", items):
                return max((self._depth(item, depths) for item in items), default=0)
            case ("repeat", item, low, _):
                return self._depth(item, depths) if low else 0
            case ("rule", name):
                return depths[name]
            case _:
                return 0

    def _draw(self, node: Node) -> str:
        self._budget -= 1
        match node:
            case ("text", text):
                return text
            case ("chars", ranges):
                low, high = self._rng.choice(ranges)
                return chr(self._rng.choice([low, high, self._rng.randint(low, high)]))
            case ("rule", name):
                return self._draw(self.rules[name])
            case ("and", items):
                return "".join(self._draw(item) for item in items)
            case ("or", options):
                if self._budget < 0:
                    return self._draw(min(options, key=lambda option: self._depth(option, self._depths)))
                return self._draw(self._rng.choice(options))
            case ("repeat", item, low, high):
                most = low + 3 if high is None else high
                count = (
                    low
                    if self._budget < 0
                    else self._rng.choice([low, min(most, low + 40), self._rng.randint(low, most)])
                )
                return "".join(self._draw(item) for _ in range(min(count, low + 40)))
            case _:
                raise AssertionError(node)


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        return chr(int(code, 16)) if code else _NAMED.get(match[4], match[4])

    return _ESCAPE.sub(one, text)


def _ranges(text: str) -> list[tuple[int, int]]:
    negated = text.startswith("^")
    pieces = re.findall(r"\\(?:x..|u....|U........|.)|[^\\]", text[negated:], re.DOTALL)
    chars = [(_unescaped(piece), piece) for piece in pieces]
    ranges: list[tuple[int, int]] = []
    while chars:
        low, _ = chars.pop(0)
        if len(chars) > 1 and chars[0][1] == "-":
            chars.pop(0)
            high, _ = chars.pop(0)
        else:
            high = low
        ranges.append((ord(low), ord(high)))
    if not negated:
        return ranges
    out, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            out.append((start, low - 1))
        start = max(start, high + 1)
    out.append((start, 0xD7FF) if start <= 0xD7FF else (start, 0x10FFFF))
    return out
