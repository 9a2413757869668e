"""The commands about the model: its instructions, settings, tools and statistics."""

from __future__ import annotations

import re

from ...chats.settings import described, setting, value_of, with_setting
from ...errors import StudioloError, UsageError
from ...paths import Home
from ...settings import read_settings
from ..output import printable
from .commands import Command
from .context import ChatContext
from .model_choice import names_of_models, open_model
from .tools import names_of_servers


def _system(chat: ChatContext, text: str) -> None:
    if text:
        chat.session.change(system_prompt="" if text.lower() == "none" else text)
    chat.terminal.show(chat.session.conversation.system_prompt or "There is no system prompt.")


def use_model(chat: ChatContext, name: str | None) -> None:
    """Have a model answer from now on; it is loaded if it is not."""
    chat.session.use(open_model(chat.session.client, name, ttl=chat.ttl, plain=chat.plain))
    chat.terminal.note(f"{printable(chat.session.conversation.model or '')} answers.")


def _model(chat: ChatContext, name: str) -> None:
    if name:
        use_model(chat, name)
        return
    current = chat.session.conversation.model
    for each in names_of_models(chat.session.client):
        chat.terminal.show(f"{'*' if each == current else ' '} {printable(each)}")


def _set(chat: ChatContext, text: str) -> None:
    name, value = re.fullmatch(r"([^\s=]*)\s*=?\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if not name:
        _show_settings(chat)
    elif not value:
        chat.terminal.show(f"{name} = {setting(chat.session.config, name) or 'its default'}")
    else:
        chat.session.configure(with_setting(chat.session.config, name, value_of(value)))
        _show_settings(chat)


def _preset(chat: ChatContext, name: str) -> None:
    settings = read_settings(Home.default().settings)
    if not name:
        chat.terminal.show("\n".join(sorted(settings.presets)) or "config.toml in the home has no presets.")
        return
    chat.session.use_preset(settings.preset(name))
    chat.terminal.show(chat.session.conversation.system_prompt or "There is no system prompt.")
    _show_settings(chat)


def names_of_presets() -> list[str]:
    """Return the names of the presets in ``config.toml``. Raise :class:`ConfigError` if it is malformed."""
    return [*read_settings(Home.default().settings).presets]


def _unset(chat: ChatContext, name: str) -> None:
    if not name:
        raise UsageError("/unset needs the name of a setting", suggestion="/set lists those that are set.")
    chat.session.configure(with_setting(chat.session.config, name, None))
    _show_settings(chat)


def _show_settings(chat: ChatContext) -> None:
    lines = [f"{name} = {value}" for name, value in described(chat.session.config)]
    chat.terminal.show("\n".join(lines) or "Every setting has its default.")


def use_tools(chat: ChatContext, servers: list[str]) -> None:
    """Let the model call the tools of these MCP servers, and of no others."""
    chat.tools.use(servers)
    chat.session.change(tools=servers)
    chat.terminal.note(f"The model may call: {', '.join(map(printable, chat.tools.names)) or 'no tools'}.")


def use_tools_again(chat: ChatContext) -> None:
    """Let the model call the tools that it could call before in the conversation; say what is not there any more."""
    if chat.session.conversation.tools != chat.tools.servers:
        try:
            use_tools(chat, chat.session.conversation.tools)
        except StudioloError as error:
            chat.terminal.error(str(error))


def _tools(chat: ChatContext, text: str) -> None:
    if text.lower() in ("off", "none"):
        use_tools(chat, [])
    elif text:
        current = chat.tools.servers
        names = text.replace(",", " ").split()
        use_tools(
            chat, [each for each in current if each not in names] + [each for each in names if each not in current]
        )
    elif servers := names_of_servers():
        for each in servers:
            chat.terminal.show(f"{'*' if each in chat.tools.servers else ' '} {printable(each)}")
        chat.terminal.note(f"The model may call: {', '.join(map(printable, chat.tools.names)) or 'no tools'}.")
    else:
        chat.terminal.show("mcp.json in the home names no MCP servers.")


def _stats(chat: ChatContext, text: str) -> None:
    if text.lower() in ("on", "off"):
        chat.stats = text.lower() == "on"
        chat.terminal.note(f"Statistics are {'printed after each answer' if chat.stats else 'not printed'}.")
        return
    branch = chat.session.branch
    chat.terminal.show(chat.stats_line() or "There are no statistics of the last answer.")
    chat.terminal.show(f"{len(branch)} messages on this branch, {len(chat.session.tree)} in all")


def _reasoning(chat: ChatContext, _: str) -> None:
    last = chat.last_answer()
    if last is None or not last.reasoning.strip():
        raise UsageError("The last answer has no reasoning")
    chat.terminal.thoughts(last.reasoning.strip())


COMMANDS = (
    Command(("system",), "[TEXT|none]", "Show or set the system prompt.", _system),
    Command(("model",), "[NAME]", "List the models, or have another one answer.", _model),
    Command(("set",), "[NAME [VALUE]]", "Show or change prediction settings: /set temperature 0.2", _set),
    Command(("unset",), "NAME", "Leave a setting to its default.", _unset),
    Command(("preset",), "[NAME]", "List the presets of config.toml, or set what one sets.", _preset),
    Command(("tools",), "[NAME...|off]", "List the MCP servers, or turn their tools on or off.", _tools),
    Command(("stats",), "[on|off]", "Show the statistics of the last answer; on: of each.", _stats),
    Command(("reasoning",), "", "Show the reasoning of the last answer.", _reasoning),
)
