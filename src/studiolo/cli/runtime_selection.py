"""Which engine runs models: selected in config.toml, and tried before that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..host.instance import Instance
    from ..paths import Home
    from ..settings import EngineSettings

TRIAL_PROMPT = "The capital of France is"
TRIAL_TOKENS = 8
TRIAL_CONTEXT = 512


def select_runtime(home: Home, name: str) -> str | None:
    """Select an engine in config.toml. Return the path of a binary that was named there, and that no runtime has.

    Parameters:
        name: a runtime's, or a registered engine's such as ``llama.cpp``.

    Raises:
        ConfigError: there is no such engine, its binary is gone, or config.toml cannot be written.
    """
    from ..errors import ConfigError
    from ..runtimes.record import binary_of, find, recorded
    from ..settings import BUNDLED_ENGINE, read_settings
    from ..settings_edit import edit_settings

    before = read_settings(home.settings).engine
    if name == "bundled":
        name = BUNDLED_ENGINE
    registered = name in _registered(home)
    values: dict[str, str] = {"name": name}
    if not registered:
        binary = binary_of(home, find(home, name))
        if not binary.is_file():
            raise ConfigError(
                f"The binary of {name} is gone: {binary}", suggestion=f"Remove it: studiolo runtime remove {name}"
            )
        values = {"name": "llama-server", "llama_server": str(binary)}

    def change(document: Any) -> None:
        import tomlkit

        document.setdefault("engine", tomlkit.table()).update(values)

    edit_settings(home.settings, change, ", ".join(f"engine.{key} = {value!r}" for key, value in values.items()))
    named = before.llama_server
    if registered or named is None or named == values["llama_server"]:
        return None
    return None if any(str(binary_of(home, each)) == named for each in recorded(home)) else named


def check_not_selected(home: Home, name: str) -> None:
    """Raise :class:`ConfigError` if config.toml selects the runtime called ``name``, or has its binary."""
    from ..errors import ConfigError
    from ..runtimes.record import binary_of, recorded
    from ..settings import read_settings

    engine = read_settings(home.settings).engine
    for each in recorded(home):
        if each.name == name and engine.name == "llama-server" and engine.llama_server == str(binary_of(home, each)):
            raise ConfigError(
                f"The runtime {name!r} is selected",
                suggestion="Select another engine first, such as the bundled one: studiolo runtime select llama.cpp",
            )


def _registered(home: Home) -> list[str]:
    from ..engines.registry import EngineKinds
    from .runtime_listing import node_of

    return EngineKinds(node_of(home)).names


async def smallest_model(home: Home, named: str | None) -> str | None:
    """Return the key of the model that ``named`` means, else of the smallest LLM of the library; ``None`` without one.

    Raises:
        PathNotFoundError, ModelFileError: there is no model of that name, or it cannot be used.
    """
    from ..library.model_library import Library
    from ..settings import SettingsFile

    library = Library(home, settings=SettingsFile(home.settings).current)
    try:
        if named is not None:
            return (await library.resolve(named)).key
        usable = [model for model in await library.models() if model.domain == "llm" and not model.error]
        return min(usable, key=lambda model: model.size_bytes).key if usable else None
    finally:
        await library.close()


async def try_engine(home: Home, engine: EngineSettings, model: str) -> str:
    """Return a few words that ``model`` generates with an engine.

    Raises:
        StudioloError: the model cannot be loaded with it, or nothing is generated.
    """
    from ..config import load_config, prediction_config
    from ..domain.generation import Fragment
    from ..errors import EngineError
    from ..host.host import Host

    host = Host(home, engine=lambda: engine)
    try:
        config = load_config({"context_length": TRIAL_CONTEXT, "max_parallel_predictions": 1})
        instance = await host.load(await host.find_model(model, "llm"), config, identifier="runtime-trial")
        await check_engine(instance, engine)
        settings = prediction_config({"max_tokens": TRIAL_TOKENS, "temperature": 0})
        events = host.predict(instance.lease(), TRIAL_PROMPT, settings).events()
        text = "".join([event.text async for event in events if isinstance(event, Fragment)])
    finally:
        await host.stop()
    if not text:
        raise EngineError(f"The engine generated nothing with {model}", suggestion="Try another model: --model.")
    return text


async def check_engine(instance: Instance, wanted: EngineSettings) -> None:
    """Raise :class:`EngineError` if another engine runs than the settings name: one stands in for what does not run."""
    from ..errors import EngineError
    from ..settings import BUNDLED_ENGINE

    async with instance.lease().held() as lease, lease.on_engine() as engine:
        if engine.name != (wanted.name or BUNDLED_ENGINE):
            raise EngineError("The engine does not run", cause=engine.note, suggestion="Run studiolo doctor.")
