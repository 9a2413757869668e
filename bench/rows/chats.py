"""Prompts that were read before: how many of their tokens are computed again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import studiolo

from .. import texts
from ..measure import Spread
from ..processes import serving
from ..run import Part, Run, row
from ..streams import Connect, answer, tcp

SLOTS = 4
CONTEXT = 2048
FIRST_TOKENS = 200
ANSWER_TOKENS = 16
RESTARTED_CHATS = 4


@dataclass
class Talk:
    """One chat.

    Parameters:
        known: the tokens that the engine has read or generated so far.
    """

    messages: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    known: int = 0


def turn(connect: Connect, model: str, talk: Talk, question: str) -> tuple[int, int]:
    """Ask the next question. Return the tokens that were computed again, and those of the whole prompt."""
    talk.messages.append({"role": "user", "content": question})
    body: dict[str, Any] = {"model": model, "messages": talk.messages, "max_tokens": ANSWER_TOKENS, "temperature": 0}
    found = answer(connect, "/v1/chat/completions", body)
    usage = found["usage"]
    prompt = usage["prompt_tokens"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    again = max(0, talk.known - cached) if talk.known else 0
    talk.known = prompt + usage["completion_tokens"]
    talk.messages.append({"role": "assistant", "content": found["choices"][0]["message"]["content"] or ""})
    return again, prompt


def share(connect: Connect, model: str, talks: list[Talk], name: object, length: int) -> float:
    """Have a turn of each chat. Return the share of the tokens of all prompts that was computed again, in per cent."""
    taken = [
        turn(
            connect,
            model,
            talk,
            f"Number {texts.chance_of((name, number)).random()}: " + texts.fresh(length, (name, number)),
        )
        for number, talk in enumerate(talks)
    ]
    return 100 * sum(again for again, _ in taken) / sum(prompt for _, prompt in taken)


@row(
    "second_turn",
    "second turn of a chat, and of interleaved chats on 4 slots: prompt tokens computed again",
    unit="%",
    most=2,
    how="""Chats of `/v1/chat/completions`: a first turn of 200 tokens each, then a second one of each. Of the tokens
    that the engine has read or generated in a chat, those that are computed again, of all tokens of the prompts.""",
)
def second_turn(run: Run) -> list[Part]:
    config = {"max_parallel_predictions": SLOTS, "context_length": CONTEXT}
    with serving() as server, studiolo.Client(server.address) as client:
        llm = client.llm.load_new_instance(run.model, "bench", config=config)
        own = _second_turns(run, tcp(server.address), llm.identifier)
    with run.direct(SLOTS, CONTEXT) as wheel:
        reference = _second_turns(run, wheel.connect, "x")
    return [
        Part(name, Spread.of([own[name]]), Spread.of([own[name]]), Spread.of([reference[name]]), "%") for name in own
    ]


def _second_turns(run: Run, connect: Connect, model: str) -> dict[str, float]:
    one, many = [Talk()], [Talk() for _ in range(run.size.chats)]
    for talks, name in ((one, "one"), (many, "many")):
        share(connect, model, talks, name, FIRST_TOKENS)
        if talks is one:
            alone = share(connect, model, one, "one, again", 20)
    return {"one chat": alone, f"{len(many)} chats": share(connect, model, many, "many, again", 20)}


@row(
    "restarted",
    "the same after the host was restarted",
    unit="%",
    most=5,
    how=f"""{RESTARTED_CHATS} chats; the server is ended as by the user, and started again, then each has its second
    turn. llama-server by itself keeps nothing.""",
)
def restarted(run: Run) -> list[Part]:
    config = {"max_parallel_predictions": SLOTS, "context_length": CONTEXT}
    talks = [Talk() for _ in range(RESTARTED_CHATS)]
    for name, length in (("before", FIRST_TOKENS), ("after", 20)):
        with serving() as server, studiolo.Client(server.address) as client:
            llm = client.llm.load_new_instance(run.model, "bench", config=config)
            again = share(tcp(server.address), llm.identifier, talks, ("restarted", name), length)
    return [Part("", Spread.of([again]), Spread.of([again]), Spread.of([100.0]), "%")]
