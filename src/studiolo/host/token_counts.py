"""Count the tokens of a chat as a prediction would read it."""

from __future__ import annotations

from ..config import PredictionConfig
from ..domain.chat import ChatRequest
from ..engines.base import Engine
from .engine_run import PredictionRequest, chat_prompt, template_request
from .host import Host
from .lease import Lease
from .media import check_media, media_in
from .prediction_settings import settings_in_force
from .prompt_progress import PromptReport
from .reasoning import check_effort
from .tool_use import tool_use


async def count_tokens(host: Host, lease: Lease, chat: ChatRequest, config: PredictionConfig) -> int:
    """Return the number of tokens of the prompt of :meth:`Host.predict` with the same arguments.

    Nothing is generated. A chat with images or audio waits for a slot: only its processing shows how many tokens they
    take.

    Raises:
        StudioloError: as :meth:`Host.predict`, and as the prediction before its first token.
    """
    instance = lease.instance
    check_media(instance.model, chat)
    in_force = settings_in_force(config, instance.config, host.defaults.prediction(instance.model))
    check_effort(in_force, instance.vocabulary, instance.model.key)
    if media_in(chat.messages):
        return await _by_prediction(host, lease, chat, config)
    tools = tool_use(chat, in_force)
    request = PredictionRequest(
        prompt=chat, config=in_force, schemas=host.schemas, files=host.files, tools=tools, logs=None
    )
    rendered = await template_request(request, chat)

    async def counted(engine: Engine) -> int:
        prompt = await chat_prompt(engine, request, rendered, instance.vocabulary)
        return len(await engine.tokenize(prompt.given))

    with lease.counted("tokenizing") as totals:
        count = await lease.call(counted)
        totals.tokens += count
    return count


async def _by_prediction(host: Host, lease: Lease, chat: ChatRequest, config: PredictionConfig) -> int:
    prediction = host.predict(lease, chat, config)
    try:
        async for event in prediction.events():
            if isinstance(event, PromptReport) and event.tokens.total:
                return event.tokens.total
    finally:
        await prediction.close()
    return 0
