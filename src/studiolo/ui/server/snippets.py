"""Programs that send a prompt again, exactly as the engine had it."""

from __future__ import annotations

import json
import shlex
from urllib.parse import urlsplit


def snippets(address: str, model: str, prompt: str, *, needs_token: bool) -> dict[str, str]:
    """Return a program in each language.

    Parameters:
        address: of the server, with ``http://``.
        model: the identifier of the instance.
        prompt: the text that the engine continues.
        needs_token: whether the server requires an API token; the programs take it from the environment.
    """
    body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 256}, ensure_ascii=False)
    token = ' -H "Authorization: Bearer $STUDIOLO_API_TOKEN"' if needs_token else ""
    host = address if address.startswith("https:") else urlsplit(address).netloc
    socket = "ws" + address.removeprefix("http")
    text, name = json.dumps(prompt), json.dumps(model)
    return {
        "curl": f"curl {address}/v1/completions{token} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        "Python": (
            "import studiolo as lm\n\n"
            f"with lm.Client({json.dumps(host)}) as client:\n"
            f"    llm = client.llm.model({name})\n"
            f'    print(llm.complete({text}, config={{"max_tokens": 256}}))'
        ),
        "TypeScript": (
            'import { LMStudioClient } from "@lmstudio/sdk";\n\n'
            f"const client = new LMStudioClient({{ baseUrl: {json.dumps(socket)} }});\n"
            f"const llm = await client.llm.model({name});\n"
            f"console.log((await llm.complete({text}, {{ maxTokens: 256 }})).content);"
        ),
    }
