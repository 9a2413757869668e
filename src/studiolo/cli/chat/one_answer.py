"""One answer: ``studiolo chat -p``, and a question on standard input."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from msgspec.structs import asdict

from ...chats.stats_line import summary
from ...config import explicit_fields
from ...errors import ConfigError, PredictionError
from ...sdk.prediction import PredictionResult
from ..output import print_json
from ..standard_streams import decoded
from .inputs import Attachment, piped, question_parts
from .listener import Listener
from .plain_output import PlainListener, call_line
from .session import ChatSession


@dataclass(frozen=True, kw_only=True)
class OneAnswer:
    """How one answer is printed.

    Parameters:
        schema: the JSON schema of the answer.
        as_json: print one JSON object.
        stats: print the statistics on standard error.
        show_reasoning: print the reasoning, on standard error.
    """

    schema: Any = None
    as_json: bool = False
    stats: bool = False
    show_reasoning: bool = False


def read_question(prompt: str | None) -> tuple[str, bytes | None]:
    """Return the question, to which a text on standard input is added, and a file on standard input.

    Parameters:
        prompt: the question; ``None`` for what is on standard input.

    Raises:
        ConfigError: standard input has bytes that are neither.
    """
    given = "" if sys.stdin.isatty() else piped(sys.stdin.buffer.read())
    texts = [prompt or "", given if isinstance(given, str) else ""]
    question = "\n\n".join(text.strip("\n") for text in texts if text.strip())
    return decoded(question, "The prompt"), given if isinstance(given, bytes) else None


def read_schema(path: Path) -> Any:
    """Return the JSON schema in a file. Raise :class:`ConfigError` if it cannot be read or is none."""
    import msgspec

    from ...text_file import read_text_file

    try:
        schema: object = msgspec.json.decode(read_text_file(path))
    except FileNotFoundError:
        raise ConfigError(f"There is no file {str(path)!r}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not JSON", cause=str(error)) from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{path} is not a JSON schema, which is an object")
    return cast("dict[str, Any]", schema)


def print_one_answer(session: ChatSession, question: str, attachments: Sequence[Attachment], wanted: OneAnswer) -> None:
    """Ask one question and print the answer. Raise :class:`PredictionError` where it does not match the schema."""
    assert session.llm is not None
    parts = question_parts(session.client, session.llm, attachments, question)
    result = session.ask(parts, _listener(wanted), wanted.schema)
    if wanted.as_json:
        print_json(_as_dict(session, result))
    if wanted.stats:
        print(f"\n{summary(result.model_info.model_key, asdict(result.stats))}", file=sys.stderr)
    if wanted.schema is not None and result.structured_problem:
        raise PredictionError("The answer does not match the schema", cause=result.structured_problem)


def announced(name: str, arguments: dict[str, Any], _: threading.Event) -> bool:
    """Print a call of a tool that the user has named, and allow it."""
    print(f"Calls {call_line(name, arguments)}", file=sys.stderr, flush=True)
    return True


def _listener(wanted: OneAnswer) -> Listener:
    reasoning = "show" if wanted.show_reasoning else "hide"
    if wanted.as_json:
        return _Silent()
    return PlainListener(reasoning=reasoning, beside=sys.stderr, is_exact=not sys.stdout.isatty())


class _Silent:
    def waiting(self, processed: float) -> None: ...
    def fragment(self, text: str, *, is_reasoning: bool) -> None: ...
    def round_ended(self) -> None: ...

    def tool_returned(self, name: str, content: str) -> None: ...


def _as_dict(session: ChatSession, result: PredictionResult[Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": result.model_info.model_key, "content": result.non_reasoning_content}
    if result.reasoning_content:
        answer["reasoning"] = result.reasoning_content
    if result.structured:
        answer["parsed"] = result.parsed
    if session.recorder.records:
        answer["conversation"] = session.conversation.id
    return answer | {
        "stats": asdict(result.stats),
        "prediction_config": explicit_fields(result.prediction_config),
    }
