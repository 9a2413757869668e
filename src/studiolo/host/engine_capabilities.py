"""Refuse what a request asks for and its engine does not do."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import PredictionConfig
from ..domain.chat import Audio, File, Image
from ..engines.base import Engine
from ..engines.spec import Grammar
from ..errors import UnsupportedError
from .media import is_audio

_FORMS: dict[Grammar, str] = {
    "llguidance": "a grammar in llguidance's language",
    "gbnf": "a grammar in GBNF",
    "json_schema": "a JSON schema",
}


def check_capabilities(engine: Engine, config: PredictionConfig, media: Iterable[Image | Audio | File]) -> None:
    """Raise :class:`UnsupportedError`, which names the engine, for what it does not do.

    Parameters:
        media: the images and the audio of the request.
    """
    able = engine.capabilities
    if config.log_prob_candidates is not None and not able.log_probabilities:
        raise _unsupported(engine, "return log-probabilities", "log_probs", "Leave log_probs out")
    for part in media:
        if is_audio(part) and not able.audio:
            raise _unsupported(engine, "take audio", "audio", "Leave the audio out")
        if not is_audio(part) and not able.vision:
            raise _unsupported(engine, "take images", "vision", "Leave the images out")


def check_grammar(engine: Engine, grammar: Grammar) -> None:
    """Raise :class:`UnsupportedError`, which names the engine, if it cannot hold an answer to such a form."""
    if grammar not in engine.capabilities.grammars:
        others = [_FORMS[each] for each in ("json_schema", "gbnf") if each in engine.capabilities.grammars]
        remedy = f"Give it {' or '.join(others)}" if others else "Leave the form out"
        raise _unsupported(engine, f"hold an answer to {_FORMS[grammar]}", "structured", remedy)


def _unsupported(engine: Engine, what: str, feature: str, remedy: str) -> UnsupportedError:
    return UnsupportedError(
        f"The engine {engine.name} {engine.version} does not {what}",
        suggestion=f"{remedy}, or use another engine: [engine] name in config.toml.",
        feature=feature,
        engine=engine.name,
        engine_version=engine.version,
    )
