"""The token ids of hostile messages: real engines have the control tokens of every family of models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from studiolo.domain.chat import Message, Text
from studiolo.engines.base import Engine, TemplateRequest
from studiolo.engines.chat_templates.control_tokens import ControlTokens
from studiolo.engines.chat_templates.formatting import ModelTemplate, apply_template
from studiolo.engines.chat_templates.process import TemplateProcesses
from studiolo.engines.prompt import Prompt
from tests.support.engines import kind_in, spec_of
from tests.support.models.families import FAMILIES, WRITERS

pytestmark = pytest.mark.slow


def hostile_text(tokens: list[str]) -> str:
    """A text with every control token, alone and beside others, and with half of one."""
    return "a" + "".join(tokens) + "the b\n" + tokens[-1] * 2 + tokens[0][:-1] + " ".join(tokens) + "\u00e9\U00010600"


@pytest.fixture(scope="module")
def prompts() -> dict[str, tuple[Prompt, Prompt]]:
    """For each family, the prompt of a chat whose message is an "a", and of one with a hostile message."""

    async def render() -> dict[str, tuple[Prompt, Prompt]]:
        processes = TemplateProcesses()
        found: dict[str, tuple[Prompt, Prompt]] = {}
        try:
            for family, (template, tokens) in FAMILIES.items():
                model = ModelTemplate(
                    template=template,
                    control_tokens=ControlTokens(tokens),
                    bos_token=tokens[0],
                    eos_token=tokens[1],
                )
                chats = [
                    TemplateRequest(messages=[Message("user", [Text(each)])]) for each in ("a", hostile_text(tokens))
                ]
                plain, hostile = [await apply_template(chat, model, processes) for chat in chats]
                found[family] = plain, hostile
        finally:
            await processes.close()
        return found

    return asyncio.run(render())


@pytest.mark.parametrize("tokenizer", WRITERS)
async def test_the_ids_of_a_hostile_message_hold_none_but_the_template_s_own(
    prompts: dict[str, tuple[Prompt, Prompt]], tokenizer: str, tmp_path: Path
) -> None:
    path = tmp_path / "families.gguf"
    WRITERS[tokenizer](path)
    engine = await kind_in(tmp_path).start(spec_of(path, context_length=256))
    try:
        for family, (plain, hostile) in prompts.items():
            await check(engine, family, plain, hostile)
    finally:
        await engine.stop()


async def check(engine: Engine, family: str, plain: Prompt, hostile: Prompt) -> None:
    tokens = FAMILIES[family][1]
    begin = await engine.tokenize("")
    special: dict[int, str] = {}
    for token in tokens:
        (number,) = (await engine.tokenize(token))[len(begin) :]
        special[number] = token

    async def special_ids(given: str | Prompt) -> list[str]:
        return [special[each] for each in (await engine.tokenize(given))[len(begin) :] if each in special]

    own = await special_ids(plain.given)
    assert own, f"{family}: the template has control tokens"
    assert await special_ids(hostile.given) == own, family
    assert len(await special_ids(hostile.text)) >= len(own) + 2 * len(tokens), f"{family}: as text, it spells them"
    ids = await engine.tokenize(hostile.given)
    assert hostile_text(tokens) in await engine.detokenize(ids), family
