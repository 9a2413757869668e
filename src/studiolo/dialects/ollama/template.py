"""Prompt templates of Ollama's simple kind: ``{{ if .System }}<|system|>{{ .System }}{{ end }}{{ .Prompt }}``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..http.fields import wrong

_TAG = re.compile(r"\{\{(-\s)?\s*(/\*.*?\*/|.*?)\s*(\s-)?\}\}", re.DOTALL)
_CONDITION = re.compile(r"if (not )?\.(System|Prompt|Response)")


@dataclass
class _Branch:
    """An ``if`` that is open: whether its text counts, and whether the text around it does."""

    holds: bool
    outer: bool


_GO = re.compile(r"\{\{-?\s*([.$]|/\*|(if|else|end|range|with|define|template|block|break|continue)\b)")


def is_jinja(template: str) -> bool:
    """Return whether a template is one in Jinja, and not one as the language Go has them."""
    return "{%" in template or ("{{" in template and _GO.search(template) is None)


def rendered(template: str, prompt: str, system: str) -> str:
    """Return a prompt in a template, up to where the answer begins.

    Raises:
        InvalidRequestError: the template has anything but ``.System``, ``.Prompt``, ``.Response`` and ``if``, ``else``,
            ``end`` about them.
    """
    values = {"System": system, "Prompt": prompt, "Response": ""}
    text, place, counts, trims = "", 0, True, False
    open_branches: list[_Branch] = []

    def add(piece: str) -> None:
        nonlocal text
        if counts:
            text += piece

    for tag in _TAG.finditer(template):
        before = template[place : tag.start()]
        before = before.lstrip() if trims else before
        add(before.rstrip() if tag[1] else before)
        place, trims = tag.end(), bool(tag[3])
        action = " ".join(tag[2].split())
        if action == ".Response":
            if counts:
                break
        elif action in (".System", ".Prompt"):
            add(values[action[1:]])
        elif (condition := _CONDITION.fullmatch(action)) is not None:
            holds = bool(values[condition[2]]) != bool(condition[1])
            open_branches.append(_Branch(holds, counts))
            counts = counts and holds
        elif action == "else" and open_branches:
            counts = open_branches[-1].outer and not open_branches[-1].holds
        elif action == "end" and open_branches:
            counts = open_branches.pop().outer
        elif not action.startswith("/*"):
            raise wrong(
                "template",
                f"{{{{ {action[:60]} }}}} is not supported",
                "Use .System, .Prompt, .Response and if, else, end; or a template in Jinja; or /api/chat.",
            )
    else:
        if open_branches:
            raise wrong("template", "an if has no end")
        rest = template[place:]
        add(rest.lstrip() if trims else rest)
    return text
