"""Tools that a model may call: functions, definitions or dicts, and their descriptions for the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NotRequired, Self, TypedDict, TypeVar, cast

from ..domain.chat import Tool
from ..errors import ConfigError
from .arguments import items, optional, text
from .tool_types import REQUIRED, parameters_of

T = TypeVar("T")


class ToolParamDefDict(TypedDict, Generic[T]):
    """A parameter of a tool: its type, and its default if it has one."""

    type: type[T]
    default: NotRequired[T]


class ToolFunctionDefDict(TypedDict):
    """:class:`ToolFunctionDef` as a dict."""

    name: str
    description: str
    parameters: Mapping[str, type[Any] | ToolParamDefDict[Any]]
    implementation: Callable[..., Any]


@dataclass(kw_only=True, frozen=True, slots=True)
class ToolFunctionDef:
    """A tool: its description for the model, and the function to call.

    Parameters:
        name: the name that the model calls.
        description: its purpose, for the model.
        parameters: the type of each parameter, or a dict of its ``type`` and ``default``. Types are numbers, text,
            lists, sets, dicts, literals, enums, dates, decimals, paths, dataclasses, structs, pydantic models, scalars
            and arrays of NumPy, unions of them, and ``Annotated[..., msgspec.Meta(description=...)]`` or pydantic's
            ``Field``, whose description and limits the model gets.
        implementation: the function, sync or async. It is called with keyword arguments, which have been checked and
            converted to their types. The model gets its result as JSON.
    """

    name: str
    description: str
    parameters: Mapping[str, type[Any] | ToolParamDefDict[Any]]
    implementation: Callable[..., Any]

    @classmethod
    def from_callable(cls, f: Callable[..., Any], *, name: str | None = None, description: str | None = None) -> Self:
        """Return the definition of a tool from a function's signature and docstring.

        Parameters:
            f: a function whose parameters have type hints.
            name: by default the function's.
            description: by default the function's docstring.

        Raises:
            ConfigError: the function has no name, no docstring, or a signature that cannot be read.
        """
        name = optional(text, name, "name") or getattr(f, "__name__", None)
        if not name:
            raise ConfigError(f"The tool {f!r} has no name", suggestion="Pass one: from_callable(f, name=...).")
        description = optional(text, description, "description") or inspect.getdoc(f)
        if not description:
            raise ConfigError(
                f"The tool {name!r} has no docstring",
                cause="The docstring describes the tool to the model.",
                suggestion="Write one, or pass a description: from_callable(f, description=...).",
            )
        return cls(name=name, description=description, parameters=_parameters(f, name), implementation=f)


@dataclass(frozen=True, kw_only=True)
class BoundTool:
    """A tool ready for use.

    Parameters:
        definition: its description for the model.
        arguments: checks and converts the arguments of a call; raises where they are wrong.
        call: the function, called with these as keyword arguments.
        is_async: whether it returns an awaitable.
    """

    definition: Tool
    arguments: Callable[[dict[str, Any]], dict[str, Any]]
    call: Callable[..., Any]
    is_async: bool

    @property
    def name(self) -> str:
        return self.definition.name


ToolDefinition = ToolFunctionDef | ToolFunctionDefDict | BoundTool | Callable[..., Any]
"""A tool for :meth:`LLM.act`."""


def bind_tools(tools: Iterable[ToolDefinition], *, allow_async: bool) -> dict[str, BoundTool]:
    """Return the tools by name; those that are ready for use stay as they are.

    Raises:
        ConfigError: a definition is malformed, two tools have one name, or an async one is passed to the sync API.
    """
    bound: dict[str, BoundTool] = {}
    for tool in items(tools, "tools", "a list of tools"):
        entry = tool if isinstance(tool, BoundTool) else _bind(_definition(tool))
        if entry.name in bound:
            raise ConfigError(f"Duplicate tool names are not permitted: {entry.name!r}")
        if entry.is_async and not allow_async:
            raise ConfigError(
                f"The tool {entry.name!r} is async, which is not supported in the sync API",
                suggestion="Use AsyncClient, or make the tool an ordinary function.",
            )
        bound[entry.name] = entry
    return bound


def _definition(tool: ToolFunctionDef | ToolFunctionDefDict | Callable[..., Any]) -> ToolFunctionDef:
    if isinstance(tool, ToolFunctionDef):
        return tool
    if isinstance(tool, Mapping):
        fields = cast("dict[str, Any]", tool)
        known = ToolFunctionDef.__dataclass_fields__
        for key in known:
            if key not in fields:
                raise ConfigError(f"A tool's definition has no {key!r}: {fields!r}")
        for key in fields:
            if key not in known:
                raise ConfigError(f"A tool's definition has no field {key!r}: {fields!r}")
        return ToolFunctionDef(**fields)
    if callable(tool):
        return ToolFunctionDef.from_callable(tool)
    raise ConfigError(
        f"A tool is a {type(tool).__name__}", cause="It can be a function, a ToolFunctionDef or a dict of its fields."
    )


def _parameters(f: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        signature = inspect.signature(f, eval_str=True)
    except Exception as error:  # evaluating annotations may raise anything
        raise ConfigError(f"The signature of the tool {name!r} cannot be read", cause=str(error)) from error
    parameters: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise ConfigError(
                f"The parameter {parameter.name!r} of the tool {name!r} cannot be passed by name",
                suggestion="Models name their arguments: make it an ordinary parameter.",
            )
        kind: Any = Any if parameter.annotation is parameter.empty else parameter.annotation
        if parameter.default is parameter.empty:
            parameters[parameter.name] = kind
        else:
            parameters[parameter.name] = {"type": kind, "default": parameter.default}
    return parameters


def _bind(tool: ToolFunctionDef) -> BoundTool:
    if not isinstance(tool.name, str) or not tool.name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"The name of a tool is {tool.name!r}")
    if not callable(tool.implementation):
        raise ConfigError(f"The implementation of the tool {tool.name!r} cannot be called: {tool.implementation!r}")
    if not isinstance(tool.description, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"The description of the tool {tool.name!r} is not a str: {tool.description!r}")
    if not isinstance(tool.parameters, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"The parameters of the tool {tool.name!r} are not a dict of types by name: {tool.parameters!r}",
            suggestion="Pass {} for a tool without parameters.",
        )
    kinds = {name: _type_and_default(tool.name, name, value) for name, value in tool.parameters.items()}
    try:
        parameters = parameters_of(kinds)
    except Exception as error:  # classes may have schemas of their own, which may raise anything
        culprit = next((name for name, kind in kinds.items() if not _is_described(name, kind)), None)
        subject = "The parameters" if culprit is None else f"The parameter {culprit!r}"
        raise ConfigError(
            f"{subject} of the tool {tool.name!r} cannot be described to a model", cause=str(error)
        ) from error
    definition = Tool(tool.name, tool.description, parameters.schema)
    implementation = tool.implementation
    is_async = inspect.iscoroutinefunction(implementation) or inspect.iscoroutinefunction(
        getattr(implementation, "__call__", None)  # noqa: B004 (its kind is asked, not whether it is there)
    )
    return BoundTool(definition=definition, arguments=parameters.convert, call=implementation, is_async=is_async)


def _is_described(name: str, kind: tuple[Any, Any]) -> bool:
    """Return whether the type of a parameter has a JSON schema."""
    try:
        parameters_of({name: kind})
    except Exception:  # as for all of them together
        return False
    return True


def _type_and_default(tool: str, name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, Mapping):
        return value, REQUIRED
    given = cast("Mapping[str, Any]", value)
    if "type" not in given:
        raise ConfigError(f"The parameter {name!r} of the tool {tool!r} has no 'type': {value!r}")
    return given["type"], given.get("default", REQUIRED)
