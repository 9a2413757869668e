"""Prompts far longer than the context, of which only the ends are tokenized: real engines, three tokenizers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studiolo.domain.infill import Infill
from studiolo.domain.vocabulary import InfillTokens, Vocabulary
from studiolo.engines.base import CompletionRequest, Engine
from studiolo.engines.chat_templates.control_tokens import as_text
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.prompt import Prompt
from studiolo.host.infill import infill_prompt
from studiolo.host.overflow import fit_text, room_for_prompt
from studiolo.paths import Home
from tests.support.engine_calls import request
from tests.support.engines import close_nodes, kind_in, spec_of
from tests.support.models.families import CONTROL_TOKENS, WRITERS

pytestmark = [pytest.mark.slow, pytest.mark.quick_model]

CONTEXT = 64
LENGTH = 12_000


def of_words(seed: int, *, between: Callable[[random.Random], str], letters: str, longest: int = 9) -> str:
    """A text of made-up words, the same every time."""
    chosen = random.Random(seed)
    text = ""
    while len(text) < LENGTH:
        text += "".join(chosen.choices(letters, k=chosen.randint(1, longest))) + between(chosen)
    return text


CJK = "".join(map(chr, range(0x4E00, 0x5200)))
EMOJI = "".join(map(chr, range(0x1F300, 0x1F6C0))) + "\u200d\ufe0f"
LETTERS = "aaabcdeeeefghiiijklmnooopqrsttttuvwxyz"

TEXTS: dict[str, str] = {
    "words": of_words(1, letters=LETTERS, between=lambda chosen: chosen.choice([" ", " ", ", ", ". ", ".\n", "\t"])),
    "CJK": of_words(2, letters=CJK, between=lambda chosen: chosen.choice("\uff0c\u3002\u3001")),
    "emoji": of_words(3, letters=EMOJI, between=lambda chosen: chosen.choice(["", " ", "a"])),
    "runs of spaces": of_words(4, letters=LETTERS, between=lambda chosen: " " * chosen.randint(1, 300)),
    "runs of line breaks": of_words(5, letters=LETTERS, between=lambda chosen: "\n" * chosen.randint(1, 30) + "\t "),
    "no spaces": of_words(6, letters=LETTERS + "ABCDEFGH0123456789+/", between=lambda chosen: "", longest=99),
    "control tokens": of_words(7, letters=LETTERS, between=lambda chosen: chosen.choice(["<s>", " ", "</s>"])),
    "a long run of spaces": "begin" + " " * LENGTH + "end",
}


@pytest.fixture(autouse=True)
async def _nodes_end_with_their_test() -> AsyncIterator[None]:
    yield
    await close_nodes()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of bytes of each text that engines tokenized."""
    sizes: list[int] = []
    call = LlamaServerClient._request

    async def counted(self: LlamaServerClient, method: str, path: str, data: bytes | None = None, **more: Any) -> Any:
        if path == "/tokenize":
            sizes.append(len(data or b""))
        return await call(self, method, path, data, **more)

    monkeypatch.setattr(LlamaServerClient, "_request", counted)
    yield sizes


def model_of(tokenizer: str, quick_home: Home, folder: Path) -> Path:
    if tokenizer == "SmolLM2":
        return next(quick_home.models.rglob("*.gguf"))
    path = folder / "model.gguf"
    WRITERS[tokenizer](path)
    return path


@pytest.fixture(params=["SmolLM2", *WRITERS])
async def engine(request: Any, quick_home: Home, tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await kind_in(tmp_path).start(spec_of(model_of(request.param, quick_home, tmp_path)))
    yield engine
    await engine.stop()


def kept(tokens: list[int], begin: list[int], asked: CompletionRequest) -> list[int]:
    """The tokens that stay of a prompt that was tokenized whole."""
    room = room_for_prompt(asked.config, CONTEXT)
    if asked.config.context_overflow_policy == "truncateMiddle":
        return [*tokens[: room // 2], *tokens[len(tokens) - (room - room // 2) :]]
    if count := min(asked.config.keep_tokens or 0, room // 2):
        return [*tokens[:count], *tokens[len(tokens) - (room - count) :]]
    return [*begin, *tokens[len(tokens) - (room - len(begin)) :]]


SETTINGS: list[dict[str, Any]] = [
    {"context_overflow_policy": "truncateMiddle"},
    {"context_overflow_policy": "rollingWindow"},
    {"context_overflow_policy": "rollingWindow", "keep_tokens": 7},
]


async def test_what_stays_is_what_stays_of_the_whole(engine: Engine, sent: list[int]) -> None:
    begin = await engine.tokenize("")
    for name, text in TEXTS.items():
        prompt = as_text(text, CONTROL_TOKENS) if name == "control tokens" else Prompt(text)
        tokens = await engine.tokenize(prompt.given)
        whole = sum(sent)
        for settings in SETTINGS:
            sent.clear()
            asked = CompletionRequest(prompt=prompt.given, config=request("", **settings).config)
            fitting = await fit_text(engine, asked, CONTEXT, Vocabulary())
            assert fitting.prompt == kept(tokens, begin, asked), (name, settings)
            if name != "a long run of spaces":
                assert sum(sent) < whole, (name, settings)
        sent.clear()


async def test_a_prompt_that_fits_stays_as_it_is(engine: Engine) -> None:
    for text in ("", "a b c", "one two " * 6):
        for settings in SETTINGS:
            asked = request(text, **settings)
            assert (await fit_text(engine, asked, CONTEXT, Vocabulary())).prompt == text


async def test_a_prompt_with_fewer_bytes_than_the_context_has_tokens_is_not_tokenized(
    engine: Engine, sent: list[int]
) -> None:
    vocabulary = Vocabulary(longest_token_bytes=16)
    sent.clear()
    for text in ("", "one two " * 5, "\u4e16" * 16):
        asked = request(text, context_overflow_policy="rollingWindow")
        assert (await fit_text(engine, asked, 64, vocabulary)).prompt == text
    assert sent == []
    await fit_text(engine, request("one two " * 8, context_overflow_policy="rollingWindow"), 64, vocabulary)
    assert sent != []


async def test_no_text_has_more_tokens_than_is_said(engine: Engine) -> None:
    vocabulary = Vocabulary(longest_token_bytes=16)
    for text in (*TEXTS.values(), "", "\u4e16\U0001f98a\ufdfa", "\x00\x01\x7f", " " * 9, "\u0301" * 5):
        most = vocabulary.most_tokens(text)
        assert most is not None and len(await engine.tokenize(text)) <= most


@pytest.mark.parametrize("piece", ["word ", " ", "\u4e16", "ab<s>"])
async def test_of_20_mb_little_is_tokenized(piece: str, quick_home: Home, tmp_path: Path, sent: list[int]) -> None:
    context, text = 512, piece * (20_000_000 // len(piece.encode()))
    engine = await kind_in(tmp_path).start(spec_of(model_of("SmolLM2", quick_home, tmp_path)))
    try:
        for settings in SETTINGS:
            sent.clear()
            asked = request(text, **settings)
            prompt = Prompt(text, tuple(range(3, len(text), 5))) if "<" in text else text
            fitting = await fit_text(
                engine, CompletionRequest(prompt=prompt, config=asked.config), context, Vocabulary()
            )
            assert len(fitting.prompt) == room_for_prompt(asked.config, context)
            assert 0 < sum(sent) < 2_000_000
    finally:
        await engine.stop()


async def test_of_the_texts_around_a_gap_what_is_next_to_it_is_tokenized(engine: Engine, sent: list[int]) -> None:
    vocabulary = Vocabulary(infill=InfillTokens(4, 5, 6))
    begin = await engine.tokenize("")
    room = room_for_prompt(request("").config, CONTEXT) - len(begin) - 3
    for name in ("words", "CJK", "runs of spaces"):
        text = TEXTS[name]
        sent.clear()
        await engine.tokenize(text)
        whole = sum(sent)
        for prefix, suffix in ((text, text), (text, ""), ("", text), (text, "a b"), ("a b", text)):
            before, after = [(await engine.tokenize(each))[len(begin) :] for each in (prefix, suffix)]
            right = min(len(after), max(room // 4, room - len(before)))
            left = min(len(before), room - right)
            expected = [*begin, 4, *before[len(before) - left :], 5, *after[:right], 6]
            sent.clear()
            given = await infill_prompt(engine, Infill(prefix, suffix), request("").config, CONTEXT, vocabulary)
            assert given == expected, (name, len(prefix), len(suffix))
            assert sum(sent) < whole
