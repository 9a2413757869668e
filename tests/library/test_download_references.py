from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.library.download_references import HubReference, PathReference, Reference, WebReference, parse


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("owner/repo", HubReference("owner/repo")),
        ("owner/repo@Q4_K_M", HubReference("owner/repo", quantization="q4_k_m")),
        ("owner/repo/sub/file.gguf", HubReference("owner/repo", file="sub/file.gguf")),
        ("hf:owner/repo@q8_0", HubReference("owner/repo", quantization="q8_0")),
        ("hf.co/owner/repo", HubReference("owner/repo")),
        ("huggingface.co/owner/repo", HubReference("owner/repo")),
        ("https://huggingface.co/owner/repo", HubReference("owner/repo")),
        ("https://huggingface.co/owner/repo/", HubReference("owner/repo")),
        ("https://huggingface.co/owner/repo/tree/v2", HubReference("owner/repo", revision="v2")),
        ("https://huggingface.co/owner/repo/blob/main/a/b.gguf", HubReference("owner/repo", file="a/b.gguf")),
        (
            "https://huggingface.co/owner/repo/resolve/v2/b.gguf?download=true",
            HubReference("owner/repo", revision="v2", file="b.gguf"),
        ),
        ("http://mirror.test:8080/owner/repo", HubReference("owner/repo")),
        ("https://example.test/models/a%20b.gguf?x=1", WebReference("https://example.test/models/a%20b.gguf?x=1")),
        ("/models/a.gguf", PathReference(Path("/models/a.gguf"))),
        ("file:///models/a%20b.gguf", PathReference(Path("/models/a b.gguf"))),
        ("~/a.gguf", PathReference(Path.home() / "a.gguf")),
        ("~nobody-has-this-name/a.gguf", PathReference(Path("~nobody-has-this-name/a.gguf").absolute())),
        ("https://example.test/page.html", None),
        ("https://huggingface.co/owner", None),
        ("smollm2-135m-instruct", None),
        ("a/b/c", None),
        ("", None),
        *((name, None) for name in ("~\0/a.gguf", "~\0", "/a\0.gguf", "file:///a\0", "owner/repo@\0")),
        *(
            (name, None)
            for name in ("https://[", "http://[::1/a.gguf", "https://a]/b.gguf", "file://[", "http://℀/a.gguf")
        ),
    ],
)
def test_what_a_name_means(name: str, meant: Reference | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.test:8080")
    assert parse(name) == meant
