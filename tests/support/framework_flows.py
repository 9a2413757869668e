"""One flow of each framework against a server: ``URL MODEL SENSIBLE_MODEL EMBEDDING_MODEL FLOW...``.

The values that ``MODEL`` writes end; the texts of ``SENSIBLE_MODEL`` end, too. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

URL, MODEL, SENSIBLE_MODEL, EMBEDDING_MODEL = sys.argv[1:5]
HELLO = "Say hello."

flows: dict[str, Callable[[], Any]] = {}


def flow(function: Callable[[], Any]) -> Callable[[], Any]:
    flows[function.__name__] = function
    return function


@flow
def langchain_openai() -> Any:
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    from pydantic import BaseModel

    class Book(BaseModel):
        title: str
        pages: int

    @tool
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"Sunny in {city}"

    chat = ChatOpenAI(base_url=f"{URL}/v1", api_key="any", model=MODEL, temperature=0, max_tokens=24)
    whole = chat.invoke(HELLO)
    streamed = "".join(str(chunk.content) for chunk in chat.stream(HELLO))
    book = chat.with_structured_output(Book).invoke("Describe a book.")
    calls = chat.bind_tools([weather], tool_choice="any").invoke("The weather in Rome?").tool_calls
    vectors = OpenAIEmbeddings(
        base_url=f"{URL}/v1", api_key="any", model=EMBEDDING_MODEL, check_embedding_ctx_length=False
    ).embed_documents(["a", "b"])
    return {
        "same": whole.content == streamed,
        "usage": whole.usage_metadata["total_tokens"],
        "book": type(book).__name__,
        "call": calls[0]["name"],
        "vectors": [len(vector) for vector in vectors],
    }


@flow
def langchain_anthropic() -> Any:
    from langchain_anthropic import ChatAnthropic

    chat = ChatAnthropic(base_url=URL, api_key="any", model_name=MODEL, temperature=0, max_tokens=6)
    whole = chat.invoke(HELLO)
    streamed = "".join(str(chunk.text) for chunk in chat.stream(HELLO))
    return {"same": whole.content == streamed, "usage": whole.usage_metadata["total_tokens"]}


@flow
def langchain_ollama() -> Any:
    from langchain_ollama import ChatOllama, OllamaEmbeddings

    chat = ChatOllama(base_url=URL, model=MODEL, temperature=0, num_predict=6)
    whole = chat.invoke(HELLO)
    streamed = "".join(str(chunk.content) for chunk in chat.stream(HELLO))
    vectors = OllamaEmbeddings(base_url=URL, model=EMBEDDING_MODEL).embed_documents(["a", "b"])
    return {"same": whole.content == streamed, "vectors": [len(vector) for vector in vectors]}


@flow
def openai_agents() -> Any:
    from agents import (
        Agent,
        ModelSettings,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    called: list[str] = []

    @function_tool
    def weather(city: str) -> str:
        """Return the weather of a city."""
        called.append(city)
        return f"Sunny in {city}"

    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key="any")
    settings = ModelSettings(tool_choice="required", temperature=0, max_tokens=60)
    outputs: list[Any] = []
    for model in (OpenAIChatCompletionsModel(MODEL, client), OpenAIResponsesModel(SENSIBLE_MODEL, client)):
        agent = Agent(name="a", instructions="Answer briefly.", model=model, tools=[weather], model_settings=settings)
        outputs.append(Runner.run_sync(agent, "The weather in Rome?").final_output)
    return {"called": len(called), "output": all(outputs)}


@flow
def pydantic_ai() -> Any:
    from pydantic import BaseModel
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    class Book(BaseModel):
        title: str
        pages: int

    settings: Any = {"temperature": 0, "max_tokens": 60}
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key="any"))
    found = Agent(model, output_type=Book, model_settings=settings).run_sync("Describe a book.").output
    claude = AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key="any"))
    text = Agent(claude, model_settings=settings).run_sync(HELLO).output
    return {"book": type(found).__name__, "text": bool(text)}


@flow
def litellm() -> Any:
    import litellm

    messages = [{"role": "user", "content": HELLO}]
    answer = litellm.completion(
        model=f"openai/{MODEL}", api_base=f"{URL}/v1", api_key="any", messages=messages, max_tokens=10, temperature=0
    )
    claude = litellm.completion(
        model=f"anthropic/{MODEL}", api_base=URL, api_key="any", messages=messages, max_tokens=10, temperature=0
    )
    return {"same": answer.choices[0].message.content == claude.choices[0].message.content}


@flow
def llm() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        entry = f"- model_id: local\n  model_name: {MODEL}\n  api_base: {URL}/v1\n"
        Path(folder, "extra-openai-models.yaml").write_text(entry)
        environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": "any"}
        program = [
            str(Path(sys.executable).with_name("llm")),
            "-m",
            "local",
            "-o",
            "temperature",
            "0",
            "-o",
            "max_tokens",
            "6",
            HELLO,
        ]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return {"text": done.stdout.strip(), "status": done.returncode, "errors": done.stderr[-300:]}


results: dict[str, Any] = {}
for name in sys.argv[5:]:
    try:
        results[name] = flows[name]()
    except Exception:
        results[name] = {"error": traceback.format_exc(limit=-4)}
print(json.dumps(results))
