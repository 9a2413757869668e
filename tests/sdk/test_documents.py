"""Documents: what they say, and passages found in them, over an embedded host and a served one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec
import psutil
import pytest

import studiolo as lm
from studiolo.domain.embeddings import Embeddings
from studiolo.host.documents import Document, Documents, Limits, Parser
from studiolo.host.files import MAX_FILE_BYTES, FileStore
from studiolo.host.retrieval import RetrievalProgress, Retriever, chunks_of
from studiolo.paths import Home
from tests.support.document_files import docx, much_unpacked, pdf, pdf_of, zip_of
from tests.support.homes import link_model
from tests.support.running import Server, children, has_ended, serving, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.served, pytest.mark.quick_model]

if TYPE_CHECKING:
    from studiolo.host.lease import Lease

MODEL = "all-minilm-l6-v2"

TEXT = """Bees make honey from the nectar of flowers.

The central bank raised its interest rate by a quarter point.

Volcanoes erupt when magma rises through the crust.
"""


HTML = (
    b"<html><head><style>p{}</style></head><body><h1>Title</h1><p>One <b>two</b></p><script>no()</script></body></html>"
)


def written(folder: Path, name: str, data: bytes, limits: Limits | None = None) -> tuple[Documents, str]:
    """The documents of a folder, and the identifier of one that was put there."""
    files = FileStore(folder)
    return Documents(files, limits), files.add(name, data).identifier


def no_progress(_: float) -> None: ...


@pytest.mark.parametrize(
    ("name", "data", "said", "library"),
    [
        ("a.pdf", pdf(["Page one.", "Page two."]), "Page one.\n\nPage two.", "pypdf"),
        ("a.docx", docx(), "A paragraph of Word.\nleft\tright", "python-docx"),
        ("a.html", HTML, "Title\nOne two", "beautifulsoup4"),
        ("a.htm", '<meta charset="latin1"><p>na\u00efve'.encode("latin-1"), "na\u00efve", "beautifulsoup4"),
        ("a.md", b"# Title\n\ntext", "# Title\n\ntext", "studiolo"),
        ("a.txt", "\ufeffna\u00efve".encode(), "na\u00efve", "studiolo"),
        ("a.txt", "na\u00efve".encode("utf-16"), "na\u00efve", "studiolo"),
        ("a.html", "<p>na\u00efve".encode("utf-16"), "na\u00efve", "beautifulsoup4"),
        ("a.html", "<p>na\u00efve \u2013 5 €".encode("cp1252"), "na\u00efve \u2013 5 €", "beautifulsoup4"),
        ("a.html", '<meta charset="shift_jis"><p>日本語'.encode("shift_jis"), "日本語", "beautifulsoup4"),
    ],
)
async def test_what_documents_say(name: str, data: bytes, said: str, library: str, tmp_path: Path) -> None:
    documents, identifier = written(tmp_path, name, data)
    reported: list[float] = []
    document = await documents.read(identifier, reported.append)
    assert document.content == said
    assert document.parser.library == library and document.parser.version
    assert document.parser == await documents.parser(identifier)
    assert reported == sorted(reported) and reported[-1] == 1


def word(document: bytes) -> bytes:
    """A DOCX, as python-docx writes it, with another main part."""
    source, out = zipfile.ZipFile(BytesIO(docx())), BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in source.namelist():
            archive.writestr(name, document if name == "word/document.xml" else source.read(name))
    return out.getvalue()


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


SMALL = Limits(memory_bytes=256 * 2**20)
HEAD, TAIL = f'<w:document xmlns:w="{WORD}"><w:body>'.encode(), b"</w:body></w:document>"
CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"


def many_paragraphs() -> bytes:
    return word(HEAD + b"<w:p/>" * 10_000_000 + TAIL)


def much_text() -> bytes:
    return word(HEAD + b"<w:p><w:r><w:t>" + b"ha" * 2**20 + b"</w:t></w:r></w:p>" + TAIL)


def many_entities() -> bytes:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 20))
    paragraph = "<w:p><w:r><w:t>&e19;</w:t></w:r></w:p>"
    kind = f'<!DOCTYPE d [<!ENTITY e0 "ha">{entities}]>'
    return word(kind.encode() + HEAD + paragraph.encode() + TAIL)


def many_pages() -> bytes:
    """Each node of the tree of pages has the next one ten times: 10^15 pages."""
    nodes = [
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (10 ** (15 - n), b"%d 0 R " % (n + 3) * 10) for n in range(15)
    ]
    return pdf_of([CATALOG, *nodes, b"<< /Type /Page /MediaBox [0 0 9 9] >>"])


def packed_twice() -> bytes:
    stream = zlib.compress(zlib.compress(b"(ha) Tj " * 10_000_000))
    content = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(stream), stream)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    return pdf_of([CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page, content])


def much_html() -> bytes:
    return b"<p>ha" * 2_000_000


@pytest.mark.parametrize(
    ("name", "make", "limits", "cause"),
    [
        ("a.docx", many_paragraphs, SMALL, "more than 256 MiB of memory"),
        ("a.docx", much_text, Limits(text_bytes=2**20), "more than 1 MiB of text"),
        ("a.docx", much_unpacked, Limits(), "too large when it is unpacked"),
        ("a.docx", many_entities, SMALL, "XMLSyntaxError"),
        ("a.pdf", many_pages, Limits(time_sec=5), ""),
        ("a.html", much_html, Limits(time_sec=0.3), "takes longer than 0.3 s"),
    ],
)
async def test_bombs_are_refused_and_leave_nothing(
    name: str, make: Callable[[], bytes], limits: Limits, cause: str, tmp_path: Path
) -> None:
    """What is small on disk, and takes more than it may."""
    data = make()
    assert len(data) < MAX_FILE_BYTES
    documents, identifier = written(tmp_path, name, data, limits)
    before = children()
    with pytest.raises(lm.FilesError, match=f"'{name}' cannot be read.*{cause}"):
        await documents.read(identifier, no_progress)
    assert children() <= before


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("a.bin", bytes(range(256)) * 4, r"'a\.bin' is not a document .* neither UTF-8 nor UTF-16"),
        ("a.pdf", b"%PDF-1.4\nnonsense", r"'a\.pdf' cannot be read"),
        ("a.docx", zip_of(**{"word__document.xml": b"<no"}), r"'a\.docx' cannot be read"),
        ("a.docx", word(b"<no"), r"\.docx' cannot be read\. XMLSyntaxError"),
    ],
)
async def test_what_cannot_be_read_is_an_error(name: str, data: bytes, error: str, tmp_path: Path) -> None:
    documents, identifier = written(tmp_path, name, data)
    with pytest.raises(lm.FilesError, match=error):
        await documents.read(identifier, no_progress)


async def test_a_stream_that_is_packed_twice_is_refused_or_left_out(tmp_path: Path) -> None:
    documents, identifier = written(tmp_path, "a.pdf", packed_twice(), SMALL)
    with contextlib.suppress(lm.FilesError):
        assert (await documents.read(identifier, no_progress)).content == ""


async def test_reading_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    documents, identifier = written(tmp_path, "slow.html", b"<p>ha" * 2_000_000)
    before = children()
    task = asyncio.ensure_future(documents.read(identifier, no_progress))
    await asyncio.to_thread(wait_until, lambda: children() > before, "the process that reads")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() <= before


async def test_a_host_that_can_start_no_process_says_so_by_a_stub_of_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, identifier = written(tmp_path, "a.pdf", pdf(["text"]))
    monkeypatch.setenv("STUDIOLO_PYTHON", str(tmp_path / "none"))
    with pytest.raises(lm.FilesError, match="The process that parses it cannot be started"):
        await documents.read(identifier, no_progress)


async def test_a_missing_library_is_named_with_its_extra_by_a_stub_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    documents, identifier = written(tmp_path, "a.pdf", pdf(["text"]))
    monkeypatch.setattr("studiolo.host.documents.version", version)
    for asking in (documents.parser(identifier), documents.read(identifier, no_progress)):
        with pytest.raises(lm.UnsupportedError, match=r"needs the library pypdf.*pip install 'studiolo\[documents\]'"):
            await asking
    _, text = written(tmp_path, "a.txt", b"text")
    assert (await documents.read(text, no_progress)).content == "text"


def test_passages_cover_the_text_and_know_their_lines() -> None:
    text = "\n".join(f"Line {number} has some words in it." for number in range(1, 101))
    chunks = chunks_of(Document([text], False, Parser("", "")), 200, 50)
    assert all(0 < len(chunk.content) <= 200 for chunk in chunks)
    for number in range(1, 101):
        assert any(f"Line {number} has some words in it." in chunk.content for chunk in chunks)
    first = chunks[0]
    assert first.page is None and isinstance(first.line, tuple) and first.line[0] == 1
    assert first.content.endswith(f"Line {first.line[1]} has some words in it.")
    pages = chunks_of(Document(["one", "", "three"], True, Parser("", "")), 200, 50)
    assert [(chunk.content, chunk.page) for chunk in pages] == [("one", 1), ("three", 3)]
    with pytest.raises(lm.ConfigError, match="passages at most"):
        chunks_of(Document([text], False, Parser("", "")), 2, 0, limit=100)


@pytest.fixture(scope="module")
def served(embedding_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("documents")
    home = Home(folder / "home")
    home.root.mkdir()
    link_model(embedding_model, home)
    with serving(home, folder, "--no-load") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def client(
    request: pytest.FixtureRequest, empty_home: Home, embedding_model: Path, served: Server
) -> Iterator[lm.Client]:
    link_model(embedding_model, empty_home)
    with lm.Client(served.address if request.param == "served" else "embedded") as client:
        yield client


def test_reading_and_finding(client: lm.Client) -> None:
    files = [
        client.files.prepare_file(TEXT.encode(), f"{client.api_host[:3]}.txt"),
        client.files.prepare_file(pdf(["Cats purr.", "Dogs bark."]), "pets.pdf"),
    ]
    assert client.files.get_document_parsing_library(files[1]).library == "pypdf"
    loaded: list[str] = []
    progress: list[float] = []
    parsed = client.files.parse_document(
        files[1], on_parser_loaded=lambda parser: loaded.append(parser.library), on_progress=progress.append
    )
    assert parsed.content == "Cats purr.\n\nDogs bark." and parsed.parser.library == "pypdf"
    assert loaded == ["pypdf"] and progress[-1] == 1

    steps: list[object] = []
    shares: list[float] = []
    found = client.files.retrieve(
        "monetary policy",
        files,
        limit=3,
        chunk_size=80,
        chunk_overlap=0,
        on_file_process_list=lambda wanted: steps.append([file.name for file in wanted]),
        on_file_processing_step_start=lambda file, step: steps.append((file.name, step)),
        on_file_processing_step_progress=lambda file, step, share: shares.append(share),
        on_searching_end=lambda: steps.append("searched"),
    )
    assert len(shares) >= 3 and all(0 <= share <= 1 for share in shares)
    names = [file.name for file in files]
    assert steps == [
        names,
        *((name, step) for name in names for step in ("loading", "chunking", "embedding")),
        "searched",
    ]
    assert len(found.entries) == 3
    best = found.entries[0]
    assert "interest rate" in best.content and best.source == files[0] and best.line_number == 3
    assert best.score > found.entries[1].score + 0.1
    (dog,) = client.files.retrieve("a barking animal", files[1:], limit=1, chunk_size=40, embedding_model=MODEL).entries
    assert dog.page_number == 2 and dog.content == "Dogs bark."
    client.embedding.unload(f"text-embedding-{MODEL}")


def test_progress_is_repeated_while_nothing_happens(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studiolo.dialects.lmstudio.documents.HEARTBEAT_SEC", 0.01)
    with lm.Client("embedded") as client:
        progress: list[float] = []
        client.files.parse_document(client.files.prepare_file(pdf(["text"]), "a.pdf"), on_progress=progress.append)
    assert progress.count(0) > 1 and progress[-1] == 1


def test_reading_ends_with_the_host(empty_home: Home, tmp_path: Path) -> None:
    with serving(empty_home, tmp_path, "--no-load") as server, lm.Client(server.address) as client:
        file = client.files.prepare_file(much_html(), "slow.html")
        failures: list[str] = []

        def read() -> None:
            try:
                client.files.parse_document(file)
            except lm.StudioloError as error:
                failures.append(str(error))

        reading = threading.Thread(target=read)
        reading.start()
        readers: list[psutil.Process] = []
        wait_until(lambda: readers.extend(psutil.Process(server.pid).children()) or readers, "the process that reads")
        server.process.kill()
        wait_until(lambda: all(has_ended(reader) for reader in readers), "its end")
        reading.join()
    assert failures, "a caller that waits for the text gets an error"


async def test_the_async_client(served: Server, empty_home: Home, embedding_model: Path) -> None:
    link_model(embedding_model, empty_home)
    for address in (served.address, "embedded"):
        async with lm.AsyncClient(address) as client:
            file = await client.files.prepare_file(pdf(["Cats purr.", "Dogs bark."]), "pets.pdf")
            parsed = await client.files.parse_document(file)
            assert parsed.content == "Cats purr.\n\nDogs bark."
            model = await client.embedding.model(MODEL)
            found = await client.files.retrieve(
                "a barking animal",
                [file],
                embedding_model=model,
                limit=1,
            )
            assert [(entry.content, entry.page_number) for entry in found.entries] == [("Dogs bark.", 2)]
            assert (await client.system.info()).studiolo is not None
            await model.unload()


def test_passages_that_are_too_long_for_the_model_are_halved(client: lm.Client) -> None:
    """Each character is a token here, and the model's context has 512."""
    line = "银行提高了利率，蜜蜂采蜜。" * 50  # noqa: RUF001 (this is Chinese)
    file = client.files.prepare_file(f"{line}\n{line}\n".encode(), "chinese.txt")
    model = client.embedding.model(MODEL)
    found = client.files.retrieve("x", [file], limit=1000, chunk_size=2000, chunk_overlap=0, embedding_model=model)
    pieces = [entry.content for entry in found.entries]
    assert len(pieces) >= 3 and sum(map(len, pieces)) in range(2 * len(line) - 2, 2 * len(line) + 2)
    assert {1, 2} <= {entry.line_number for entry in found.entries} <= {1, 2, (1, 2)}
    again: list[object] = []
    same = client.files.retrieve(
        "x", [file, file], limit=1, chunk_size=2000, chunk_overlap=0, on_file_process_list=again.append
    )
    assert again == [[]], "what was computed is kept"
    assert same.entries[0] == found.entries[0]
    model.unload()


async def test_what_is_kept_has_a_bound_by_a_stub_of_the_model(tmp_path: Path) -> None:
    class Stub:
        instance = SimpleNamespace(model=SimpleNamespace(path=tmp_path))
        asked = 0

        async def embed(self, texts: list[str]) -> Embeddings:
            self.asked += len(texts)
            return Embeddings([[1.0, 0.0]] * len(texts), [1] * len(texts))

    files = FileStore(tmp_path)
    names = [files.add("a.txt", f"{number} {'word ' * 100}".encode()).identifier for number in range(3)]
    retriever, stub = Retriever(Documents(files), max_kept_bytes=2000), Stub()
    watcher = RetrievalProgress(lambda _: None, lambda *_: None, lambda *_: None, lambda _: None)

    async def ask(*identifiers: str) -> int:
        before, model = stub.asked, cast("Lease", stub)
        await retriever.retrieve("q", identifiers, model, watcher, limit=1, chunk_size=600, chunk_overlap=0)
        return stub.asked - before - 1  # one is the question

    assert await ask(*names) == 3
    assert await ask(*names[1:]) == 0, "the latest are kept"
    assert await ask(names[0]) == 1, "the oldest has made room"
    again = files.add("a.txt", b"0 " + b"word " * 100).identifier
    assert again != names[0] and await ask(again) == 0, "the same content is known under every identifier"


def test_wrong_uses_are_named(client: lm.Client) -> None:
    picture = client.files.prepare_file(bytes(range(256)), "a.bin")
    with pytest.raises(lm.FilesError, match="is not a document that can be read"):
        client.files.parse_document(picture)
    bomb = client.files.prepare_file(much_unpacked(), "a.docx")
    with pytest.raises(lm.FilesError, match="too large when it is unpacked"):
        client.files.parse_document(bomb)
    with pytest.raises(lm.FilesError, match="too large when it is unpacked"):
        client.files.retrieve("x", [bomb])
    text = client.files.prepare_file(b"text", "a.txt")
    with pytest.raises(lm.ConfigError, match="cannot overlap by 10"):
        client.files.retrieve("x", [text], chunk_size=10, chunk_overlap=10)
    with pytest.raises(lm.ConfigError, match="limit of a retrieval is 0"):
        client.files.retrieve("x", [text], limit=0)
    for wrong in ("a.txt", ["a.txt"], text):
        with pytest.raises(lm.ConfigError, match="files"):
            client.files.retrieve("x", wrong)  # type: ignore[arg-type]
    with pytest.raises(lm.ConfigError, match="chunk_size' is of type str, not a whole number"):
        client.files.retrieve("x", [text], chunk_size="large")  # type: ignore[arg-type]
    with pytest.raises(lm.ConfigError, match="'query' is of type int, not text"):
        client.files.retrieve(5, [text])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_nothing"):
        client.files.retrieve("x", [text], on_nothing=print)  # type: ignore[call-arg]
    with pytest.raises(lm.FilesError, match="The host has no file"):
        client.files.retrieve("x", [msgspec.structs.replace(text, identifier="0" * 64)])
    with pytest.raises(lm.ModelNotFoundError, match="nothing"):
        client.files.retrieve("x", [text], embedding_model="nothing")
