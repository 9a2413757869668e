"""The programs that studiolo was begun for, with the official client. With studiolo, the import is all that differs."""

from __future__ import annotations

CONVENIENCE = """
import lmstudio as lm
llm = lm.llm()
prediction = llm.complete_stream("My name is")
for token in prediction:
    print(token, end="", flush=True)
completion = llm.complete("My name is")
print(completion)
"""

CLIENT = """
import lmstudio
with lmstudio.Client() as client:
    llm = client.llm.model()
    for token in llm.complete_stream("My name is"):
        print(token, end="", flush=True)
    print(llm.complete("My name is"))
"""


def with_studiolo(program: str) -> str:
    """Return a program with studiolo in place of the official client."""
    return program.replace("lmstudio", "studiolo")
