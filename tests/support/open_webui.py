"""Drive Open WebUI's backend against a server of ours over HTTP: sign up, list the models, chat, by both connections.

Run by ``make open-webui``. The backend, from PyPI, is put into the tests' cache at the first run: 850 MB without the
large packages that it starts without.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from studiolo.paths import Home
from tests.support.frameworks import python_of
from tests.support.homes import DEFAULT_EMBEDDING_MODEL, DEFAULT_MODEL, link_models, new_home
from tests.support.model_cache import cache_folder, fetch, fetch_default_model
from tests.support.running import free_port, serving, wait_until

EMBEDDING_MODEL = "text-embedding-nomic-embed-text-v1.5"

BY_OPENAI = {"ENABLE_OLLAMA_API": "false", "OPENAI_API_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "any"}
BY_OLLAMA = {"ENABLE_OPENAI_API": "false", "OLLAMA_BASE_URL": "{url}"}

QUIET = {
    "WEBUI_SECRET_KEY": "any",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "false",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "RAG_EMBEDDING_ENGINE": "openai",  # its own one needs torch
    "USER_AGENT": "tests",
}


@contextlib.contextmanager
def backend(folder: Path, url: str, connection: dict[str, str]) -> Iterator[str]:
    """Run Open WebUI's backend with a connection to the server at ``url``; yield its own address."""
    here = Path(__file__).parent
    python = python_of(
        "open-webui", cache_folder(), here / "open_webui.in", "--overrides", str(here / "open_webui_without.in")
    )
    (package,) = python.parents[1].glob("lib/python*/site-packages/open_webui")
    folder.mkdir()
    variables = {name: value.format(url=url) for name, value in connection.items()}
    places = {"DATA_DIR": str(folder), "HOME": str(folder), "FRONTEND_BUILD_DIR": str(package / "frontend")}
    port = free_port()
    program = [str(python), "-m", "uvicorn", "open_webui.main:app", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        environment = {**os.environ, **QUIET, **places, **variables}
        process = subprocess.Popen(program, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    own = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        if process.poll() is not None:
            raise SystemExit((folder / "log").read_text())
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{own}/health").status_code == 200
        return False

    try:
        wait_until(answers, "Open WebUI's backend", 120)
        yield own
    finally:
        process.terminate()
        process.wait(30)


def flow(url: str, server: str, connection: str) -> dict[str, Any]:
    """Use the backend at ``url`` as its pages do; return what it answers.

    Parameters:
        server: the address of ours.
        connection: ``openai`` or ``ollama``.
    """
    with httpx.Client(base_url=url, timeout=120) as client:
        person = {"name": "Ada", "email": "ada@example.com", "password": "Secret-12345"}
        signed = client.post("/api/v1/auths/signup", json=person).raise_for_status().json()
        client.headers["Authorization"] = f"Bearer {signed['token']}"
        models = [each["id"] for each in client.get("/api/models").raise_for_status().json()["data"]]
        model = next(each for each in models if each.startswith(DEFAULT_MODEL))
        settings = {"temperature": 0} if connection == "openai" else {"options": {"temperature": 0}}
        messages = [{"role": "user", "content": "Say hello."}]
        limited = {"model": model, "messages": messages, "max_tokens": 12, "stream": False, **settings}
        whole = client.post("/api/chat/completions", json=limited).raise_for_status().json()
        with client.stream("POST", "/api/chat/completions", json={**limited, "stream": True}) as answer:
            lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
        choices = [choice for line in lines for choice in json.loads(line).get("choices", ())]
        unknown = client.post("/api/chat/completions", json={**limited, "model": "no-such-model"})
        embedder = next(each for each in [*models, EMBEDDING_MODEL] if each.startswith("text-embedding"))
        vectors = client.post("/api/embeddings", json={"model": embedder, "input": ["a", "b"]})
        address = f"{server}/v1" if connection == "openai" else server
        verified = client.post(f"/{connection}/verify", json={"url": address, "key": "any"})
        looks = [
            ("POST", "show", {"model": model}),
            ("GET", "ps", None),
            ("GET", "version", None),
            ("GET", "tags", None),
        ]
        statuses = [
            client.request(method, f"/ollama/api/{path}", json=body).status_code
            for method, path, body in (looks if connection == "ollama" else ())
        ]
        return {
            "verified": verified.status_code,
            "statuses": statuses,
            "models": models,
            "whole": whole["choices"][0]["message"]["content"],
            "streamed": "".join(each.get("delta", {}).get("content") or "" for each in choices),
            "usage": whole.get("usage"),
            "unknown": unknown.status_code,
            "vectors": vectors.status_code,
        }


def main() -> int:
    """Run the flow by each connection; return the exit status."""
    cached, embedding = Home(cache_folder()), Home(cache_folder() / "embedding")
    fetch_default_model(cached)
    fetch(embedding, DEFAULT_EMBEDDING_MODEL)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        home = new_home(folder, cached)
        link_models(embedding, home)
        with serving(home, folder, "--no-load") as server:
            for connection, variables in (("openai", BY_OPENAI), ("ollama", BY_OLLAMA)):
                with backend(folder / connection, f"http://{server.address}", variables) as url:
                    found = flow(url, f"http://{server.address}", connection)
                print(connection, json.dumps(found))
                right = {found["verified"], found["vectors"], *found["statuses"]} == {200} and found["unknown"] == 400
                failed = failed or not right or not found["whole"] or found["whole"] != found["streamed"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
