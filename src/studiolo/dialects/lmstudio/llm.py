"""The ``llm`` namespace: predictions."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

from ...config import PredictionConfig
from ...config.raw_tools import parse_raw_tools
from ...domain.calibration import Scaling
from ...domain.decisions import Question
from ...domain.generation import PredictionResult
from ...domain.infill import Infill
from ...domain.progress import HEARTBEAT_SEC
from ...engines.base import TemplateRequest
from ...errors import ProtocolError
from ...host.decisions import decide
from ...protocol import llm as wire
from ...protocol.chat import ChatHistoryData, TextData
from ...protocol.kv import (
    decode_prediction_config,
    encode_load_config,
    encode_prediction_config,
    flatten,
    log_ignored_keys,
    refuse_prediction_keys,
)
from ...protocol.models import LlmInstanceInfo, ModelSpecifier
from . import predictions
from .chats import chat_request, messages
from .context import Context, ServerChannel
from .encoding import instance_info, model_reference
from .progress import heartbeats
from .registry import channel, rpc

CANCEL_GRACE_SEC = 1.0
"""How long a cancelled request still waits for its instance, so that the client gets a result that says so."""

# A prompt template that passes the text through, whatever the spacing: the form of a raw completion.
_PASS_THROUGH = re.compile(
    r"""\s*\{%-?\s*for\s+(\w+)\s+in\s+messages\s*-?%\}
        \s*\{\{-?\s*\1\s*(\.content|\[\s*(['"])content\3\s*\])\s*-?\}\}
        \s*\{%-?\s*endfor\s*-?%\}\s*""",
    re.VERBOSE,
)


@channel(wire.PREDICT, "llm")
async def predict(
    context: Context, parameter: wire.PredictParameter, channel: ServerChannel[wire.PredictMessage]
) -> None:
    settings = flatten(parameter.prediction_config_stack)
    prompt: str | ChatHistoryData
    if _passes_through(settings.get(wire.PROMPT_TEMPLATE_KEY)):
        del settings[wire.PROMPT_TEMPLATE_KEY]
        prompt = _text(parameter.history)
    else:
        prompt = parameter.history
    await _run(context, parameter.model_specifier, prompt, settings, channel, parameter.fuzzy_preset_identifier)


@channel(wire.COMPLETE_RAW_TEXT, "llm")
async def complete_raw_text(
    context: Context, parameter: wire.CompleteRawTextParameter, channel: ServerChannel[wire.PredictMessage]
) -> None:
    settings = flatten(parameter.prediction_config_stack)
    await _run(
        context, parameter.model_specifier, parameter.raw_prompt, settings, channel, parameter.fuzzy_preset_identifier
    )


@channel(wire.INFILL, "llm")
async def infill(
    context: Context, parameter: wire.InfillParameter, channel: ServerChannel[wire.PredictMessage]
) -> None:
    settings = flatten(parameter.prediction_config_stack)
    gap = Infill(parameter.prefix, parameter.suffix)
    await _run(context, parameter.model_specifier, gap, settings, channel, parameter.fuzzy_preset_identifier)


async def _run(
    context: Context,
    specifier: ModelSpecifier,
    prompt: str | ChatHistoryData | Infill,
    settings: dict[str, Any],
    channel: ServerChannel[wire.PredictMessage],
    preset: str | None = None,
) -> None:
    log_ignored_keys(settings, "llm.prediction")
    refuse_prediction_keys(settings)
    config = decode_prediction_config(settings)
    request = chat_request(prompt, config) if isinstance(prompt, ChatHistoryData) else prompt
    waiting = wire.PromptProcessingProgress(progress=0.0, details=wire.PromptProcessingDetails())
    task, early = asyncio.current_task(), list[asyncio.TimerHandle]()
    assert task is not None
    channel.on_cancel = lambda: early.append(asyncio.get_running_loop().call_later(CANCEL_GRACE_SEC, task.cancel))
    async with contextlib.AsyncExitStack() as stack:
        async with heartbeats(channel.send, waiting, HEARTBEAT_SEC):
            lease = await stack.enter_async_context(
                context.host.lease(
                    model_reference(specifier), "llm", context.client, limit_sec=config.timeout_sec or None
                )
            )
        prediction = context.host.predict(lease, request, config, preset)
        channel.on_cancel = prediction.stop
        for timer in early:
            timer.cancel()
            prediction.stop()
        try:
            async for event in prediction.events():
                if not isinstance(event, PredictionResult):
                    await channel.send(predictions.message(event))
                    continue
                info = instance_info(lease.instance, in_use=True)
                assert isinstance(info, LlmInstanceInfo)
                await channel.send(
                    wire.PredictSuccess(
                        stats=predictions.stats(event),
                        model_info=info,
                        load_model_config=encode_load_config(lease.instance.config),
                        prediction_config=encode_prediction_config(prediction.config),
                        structured=predictions.structured(event.structured),
                        engine_restarts=event.engine_restarts or None,
                        time_limit_reached=event.stop_reason == "time_limit" or None,
                    )
                )
        finally:
            await prediction.close()


def _passes_through(template: Any) -> bool:
    match template:
        case {"type": "jinja", "jinjaPromptTemplate": {"template": str(text)}}:
            return _PASS_THROUGH.fullmatch(text) is not None
        case _:
            return False


def _text(history: ChatHistoryData) -> str:
    """The text of all messages, as a template that passes it through would put it."""
    texts: list[str] = []
    for index, message in enumerate(history.messages):
        for part in message.content:
            if not isinstance(part, TextData):
                where = f"$.history.messages[{index}]"
                raise ProtocolError(f"A raw completion takes text alone; {where} has a part of type {part.type!r}")
            texts.append(part.text)
    return "".join(texts)


@rpc(wire.APPLY_PROMPT_TEMPLATE, "llm")
async def apply_prompt_template(context: Context, parameter: wire.ApplyPromptTemplateParameter) -> wire.FormattedPrompt:
    settings = flatten(parameter.prediction_config_stack)
    log_ignored_keys(settings, "llm.prediction")
    refuse_prediction_keys(settings)
    config = decode_prediction_config(settings)
    tools, _ = parse_raw_tools({"type": "toolArray", "tools": parameter.opts.tool_definitions or []})
    chat = TemplateRequest(
        messages=messages(parameter.history.messages),
        tools=tools,
        omit_bos_token=bool(parameter.opts.omit_bos_token),
        omit_eos_token=bool(parameter.opts.omit_eos_token),
    )
    async with context.host.lease(model_reference(parameter.specifier), "llm", context.client) as lease:
        return wire.FormattedPrompt(formatted=await context.host.apply_template(lease, chat, config))


@rpc(wire.DECIDE, "llm")
async def decide_between(context: Context, parameter: wire.DecideParameter) -> wire.Probabilities:
    settings = flatten(parameter.prediction_config_stack)
    log_ignored_keys(settings, "llm.prediction")
    refuse_prediction_keys(settings)
    config = decode_prediction_config(settings)
    chat = chat_request(parameter.history, config)
    questions = [Question(text=each.text, choices=each.choices, kind=each.kind) for each in parameter.questions]
    scaling = parameter.calibration and Scaling(parameter.calibration.temperature, parameter.calibration.bias)
    normalization = parameter.normalization
    async with context.host.lease(model_reference(parameter.specifier), "llm", context.client) as lease:
        return wire.Probabilities(
            await decide(context.host, lease, chat, questions, config, normalization=normalization, scaling=scaling)
        )


@rpc(wire.PRELOAD_DRAFT_MODEL, "llm")
async def preload_draft_model(context: Context, parameter: wire.PreloadDraftModelParameter) -> None:
    config = PredictionConfig(draft_model=parameter.draft_model_key)
    async with (
        context.host.lease(model_reference(parameter.specifier), "llm", context.client) as lease,
        lease.on_engine(config),
    ):
        pass  # the engine runs with the draft model now
