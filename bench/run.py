"""A run of the benchmark: its sizes, the rows, and the servers that they share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import tomlkit

import studiolo
from studiolo.domain.models import Domain
from studiolo.library import Library
from studiolo.library.catalog import Catalog
from studiolo.paths import Home

from .measure import Spread, Stream, ratios
from .processes import LlamaServer, Server, other_server, serving, wheel_server, worker_socket
from .streams import Connect, llama_server, openai, studiolo_sdk, tcp, unix

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """How much is measured. Lengths are in tokens.

    Parameters:
        minutes: what the run may take.
        scale: the share of a row's seconds that its rounds may take.
        long: the long prompt beside which a stream runs.
        cancelled: the prompt that is cancelled.
        prompts: the prompts whose processing is timed.
        clients: how many at once; the last is the number of slots.
        texts: the texts of a round that are embedded.
        lengths: the prompts of the curve.
        models: how many models are loaded, for the curve.
        libraries: the files of the library, for the curve.
        frames: tokens of each stream of the front end.
        repeats: whether rows that other programs have disturbed are measured once more.
    """

    name: str
    minutes: float
    scale: float
    noise_sec: float
    rounds: int
    tokens: int
    long: int
    cancelled: int
    prompts: Sequence[int]
    clients: Sequence[int]
    chats: int
    texts: int
    lengths: Sequence[int]
    models: Sequence[int]
    libraries: Sequence[int]
    frames: int
    repeats: bool = True


FULL = Size(
    name="full",
    minutes=19,
    scale=1,
    noise_sec=12,
    rounds=12,
    tokens=96,
    long=7_900,
    cancelled=4_000,
    prompts=(512, 4096),
    clients=(2, 4, 8, 16, 32),
    chats=20,
    texts=250,
    lengths=(128, 256, 1024, 2048),
    models=(1, 2, 4, 8),
    libraries=(10, 100, 1_000, 10_000),
    frames=200,
)
QUICK = Size(
    name="quick",
    minutes=2,
    scale=0.1,
    noise_sec=3,
    rounds=3,
    tokens=48,
    long=600,
    cancelled=1_000,
    prompts=(512,),
    clients=(4, 16),
    chats=5,
    texts=16,
    lengths=(128, 256),
    models=(1, 2),
    libraries=(10, 100),
    frames=50,
)
TINY = Size(
    name="tiny",
    minutes=5,
    scale=0,
    noise_sec=0.2,
    rounds=1,
    tokens=12,
    long=1_100,
    cancelled=600,
    prompts=(64,),
    clients=(2,),
    chats=5,
    texts=3,
    lengths=(32, 64),
    models=(1, 2),
    libraries=(5, 10),
    frames=5,
    repeats=False,
)
"""For tests: every row runs, and no figure means anything."""


@dataclass(frozen=True)
class Part:
    """One measured figure of a row.

    Parameters:
        name: what it is a figure of; empty if the row has only one.
        value: in the unit of the row.
        own, reference: what both sides reached, in ``unit``.
        judged: whether the wanted figure holds for it.
        checks: counts that show that both sides did the same work.
    """

    name: str
    value: Spread
    own: Spread | None = None
    reference: Spread | None = None
    unit: str = ""
    judged: bool = True
    checks: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of_rounds(
        cls,
        name: str,
        own: Sequence[float],
        reference: Sequence[float],
        unit: str,
        *,
        compare: Callable[[Sequence[float], Sequence[float]], Spread] = ratios,
        judged: bool = True,
        checks: Mapping[str, Any] | None = None,
    ) -> Part:
        """Return the figure of what both sides reached in the same rounds, by default the ratio.

        Parameters:
            own, reference: a value of each round, in ``unit``.
        """
        sides = Spread.of(own), Spread.of(reference)
        return cls(name, compare(own, reference), *sides, unit, judged, dict(checks or {}))

    def json(self) -> dict[str, Any]:
        """Return the form in the results file."""
        return {
            "name": self.name,
            "value": self.value.json(),
            "own": self.own and self.own.json(),
            "reference": self.reference and self.reference.json(),
            "unit": self.unit,
            "judged": self.judged,
            "checks": self.checks,
        }


@dataclass(frozen=True)
class Row:
    """A figure of the table.

    Parameters:
        figure: its name in the table.
        unit: ``""`` for a ratio.
        wanted: the least or the most that is wanted.
        least: whether it is the least.
        how: how it is measured, in a sentence or two.
    """

    key: str
    figure: str
    unit: str
    wanted: float
    least: bool
    how: str
    measure: Callable[[Run], list[Part]]

    def is_met(self, value: float) -> bool:
        """Return whether a figure is good enough."""
        return value >= self.wanted if self.least else value <= self.wanted


ROWS: dict[str, Row] = {}
"""By key, in the order of the table: :mod:`bench.rows` fills it."""


def row(key: str, figure: str, *, how: str, unit: str = "", least: float | None = None, most: float | None = None):
    """Register a function as that which measures a row; one of ``least`` and ``most`` is the wanted figure."""
    wanted = least if least is not None else most
    assert wanted is not None

    def register(measure: Callable[[Run], list[Part]]) -> Callable[[Run], list[Part]]:
        ROWS[key] = Row(key, figure, unit, wanted, least is not None, " ".join(how.split()), measure)
        return measure

    return register


@dataclass
class Run:
    """The servers of a run. All start when they are first used, and stop at its end.

    Parameters:
        home: the home of the run, see :func:`home_with`.
        model, file: the key of the model, and its file.
        embedding: the same of an embedding model.
        others: servers of the user's to compare with, by name: how each is started, and the path of its health.
        engine: a llama-server that all sides run, in place of the wheel's.
    """

    size: Size
    home: Home
    model: str
    file: Path
    embedding: tuple[str, Path] | None
    stack: contextlib.ExitStack
    say: Callable[[str], None]
    others: Mapping[str, tuple[Sequence[str], str]] = field(default_factory=dict[str, tuple[Sequence[str], str]])
    engine: Path | None = None
    _shared: dict[Any, Any] = field(default_factory=dict[Any, Any])

    def shared(self, measure: Callable[[Run], T]) -> T:
        """Return what ``measure`` returns; it is called once a run, for all rows that use it. So is its failure."""
        if measure not in self._shared:
            try:
                self._shared[measure] = measure(self), None
            except Exception as error:
                self._shared[measure] = None, error
        found, error = self._shared[measure]
        if error is not None:
            raise error
        return found

    @property
    def shared_count(self) -> int:
        """How much has been measured for several rows."""
        return len(self._shared)

    def rounds(self, seconds: float, most: int | None = None) -> Iterator[int]:
        """Yield the numbers of the rounds of a row: at least one, ``most`` or the size's number at most.

        Parameters:
            seconds: the time of all of them in a full run.
        """
        began = time.perf_counter()
        limit, took = seconds * self.size.scale, 0.0
        for number in range(most or self.size.rounds):
            if number and time.perf_counter() - began + took > limit:
                return
            start = time.perf_counter()
            yield number
            took = time.perf_counter() - start

    def alternate(self, sides: Mapping[str, Callable[[int], T]], seconds: float, most: int | None = None):
        """Run all sides in each round, in the opposite order each other round: A B, B A.

        Return the results of each side, round by round.
        """
        found: dict[str, list[T]] = {name: [] for name in sides}
        for number in self.rounds(seconds, most):
            for name in sides if number % 2 == 0 else reversed(list(sides)):
                found[name].append(sides[name](number))
        return found

    @cached_property
    def wheel(self) -> LlamaServer:
        """The wheel's llama-server, or the one that all sides run, with its own defaults."""
        return self.stack.enter_context(self._direct({}))

    def direct(self, slots: int, context: int) -> contextlib.AbstractContextManager[LlamaServer]:
        """Return a server like :attr:`wheel`, with ``slots`` slots of ``context`` tokens."""
        return self._direct({"n_parallel": slots, "n_ctx": slots * context})

    def _direct(self, params: Mapping[str, int]) -> contextlib.AbstractContextManager[LlamaServer]:
        if self.engine is None:
            return wheel_server(self.file, **params)
        command, path = started(self.engine, self.file)
        options = {"n_parallel": "--parallel", "n_ctx": "--ctx-size"}
        for name, value in params.items():
            command += [options[name], str(value)]
        return other_server(command, path, str(self.engine))

    @cached_property
    def server(self) -> Server:
        """A server of studiolo."""
        return self.stack.enter_context(serving())

    @cached_property
    def served(self) -> Any:
        """The model with studiolo's defaults, on the server."""
        client = self.stack.enter_context(studiolo.Client(self.server.address))
        return client.llm.load_new_instance(self.model)  # explicitly, so that no other load evicts it

    @cached_property
    def embedded(self) -> Any:
        """The model with studiolo's defaults, embedded."""
        llm = self.stack.enter_context(studiolo.Client("embedded")).llm.load_new_instance(self.model)
        self.stack.callback(llm.unload)
        return llm

    @cached_property
    def worker(self) -> Connect:
        """The worker of :attr:`served`."""
        assert self.served
        return unix(self._worker_path)

    @cached_property
    def _worker_path(self) -> Path:
        return worker_socket(self.server.process.pid)

    @cached_property
    def other_streams(self) -> dict[str, Stream]:
        """The servers of the user's, by name; each that does not start is reported and left out."""
        found: dict[str, Stream] = {}
        for name, (command, path) in self.others.items():
            try:
                server = self.stack.enter_context(other_server(command, path, name))
            except (RuntimeError, OSError) as error:
                self.say(f"{name} is left out: {error}")
                continue
            found[name] = openai(server.connect, self.model)
        return found

    def reference(self) -> Stream:
        """Return the path to the wheel's server."""
        return llama_server(self.wheel.connect)

    def ways(self) -> dict[str, Stream]:
        """Return the wheel's server, then studiolo's ways to its own engines."""
        assert self.worker  # while the server has this model alone
        return {
            "reference": self.reference(),
            "SDK, embedded": studiolo_sdk(self.embedded),
            "SDK, through the server": studiolo_sdk(self.served),
        }

    def served_http(self) -> Connect:
        """Return the way to connect to studiolo's server."""
        return tcp(self.server.address)


def started(binary: Path, model: Path) -> tuple[list[str], str]:
    """Return how a llama-server of the user's is started with its own defaults, and the path of its health."""
    return [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", "{port}"], "/health"


def ensure_model(name: str | None, domain: Domain = "llm") -> tuple[str, Path]:
    """Return the key and the file of a model, by default the catalog's default; download it if the library lacks it."""
    default = Catalog.load().default(domain)
    return asyncio.run(_fetch(name or (default.name if default else "")))


async def _fetch(name: str) -> tuple[str, Path]:
    library = Library(Home.default())
    try:
        model = await library.fetch(name)
        return model.key, model.path
    finally:
        await library.close()


@contextlib.contextmanager
def home_with(*files: Path, engine: Path | None = None) -> Iterator[Home]:
    """Yield a home of the run's own, which is this process's default: models, and no setting of the user's.

    Parameters:
        engine: the llama-server that runs the models; by default the wheel's.
    """
    folder = Path(tempfile.mkdtemp(prefix="studiolo-bench-"))  # private, so that prompts are kept on disk
    before = {name: os.environ.get(name) for name in ("STUDIOLO_HOME", "STUDIOLO_HOST")}
    os.environ["STUDIOLO_HOME"] = str(folder)
    os.environ.pop("STUDIOLO_HOST", None)
    home = Home(folder)
    try:
        home.create()
        settings: dict[str, Any] = {"library": {"programs": []}}
        if engine is not None:
            settings["engine"] = {"name": "llama-server", "llama_server": str(engine)}
        home.settings.write_text(tomlkit.dumps(settings), "utf-8")
        for file in files:
            link = home.models / file.parent.parent.name / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        yield home
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
