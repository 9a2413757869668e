"""Objects that belong to this process: connections, handles, streams."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from ..errors import NotPicklableError


class ProcessBound:
    """An object that is copied as itself, and cannot be pickled."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise NotPicklableError(
            f"A {type(self).__name__} cannot be pickled: it belongs to this process",
            suggestion="Send the identifier of the model, and get a handle there: client.llm.model(identifier).",
        )
