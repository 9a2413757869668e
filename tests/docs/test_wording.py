"""Words that the project's English avoids are nowhere: not in names, comments, messages or pages.

Each has a plainer word: "say", "report" or "include" for *tell*, "accept" for *let in*, "continue" or "resume" for *go
on*, "fix" for *mend*, "again" for *anew*, "ignore" for *pass over*, "move" for *put aside*, "the result" for *what came
of*, "the caller" or "a client" for *whoever*.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

AVOIDED = (
    r"told|tells?|telling",
    r"(?:is|are|be|was|were|been|being|lets?|letting) let in|lets? (?:\w+ ){1,3}in(?=[.,;:)]|$)",
    r"to be had|(?:can|could|cannot) be had",
    r"(?:go|goes|going|gone|went) on",
    r"mend(?:s|ed|ing)?",
    r"anew",
    r"pass(?:ed|es|ing)? over",
    r"put(?:s|ting)? aside",
    r"(?:came|comes|come|became|becomes) of",
    r"whoever",
    r"that of",
    r"so that there is none",
)
PATTERN = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(AVOIDED)})(?![A-Za-z])", re.IGNORECASE)
"""An underscore separates words, as in names."""

SEARCHED = (
    *("*.md", "*.toml", "*.yml", "Makefile", ".ci/*", ".github/**/*", "docs/*"),
    *(f"{folder}/**/*.{kind}" for folder in ("src", "tests", "bench") for kind in ("py", "toml", "md", "mjs", "ts")),
)


def found(text: str) -> list[tuple[int, str]]:
    """Return the number and the avoided words of each line that has any."""
    lines = enumerate(text.replace(".tell()", "").splitlines(), 1)  # a method of files
    return [(number, match[0]) for number, line in lines for match in PATTERN.finditer(line)]


def test_no_file_has_an_avoided_word() -> None:
    files = {path for pattern in SEARCHED for path in ROOT.glob(pattern) if path.is_file()} - {Path(__file__)}
    assert len(files) > 200
    faults = [
        f"{path.relative_to(ROOT)}:{number}: {words}"
        for path in sorted(files)
        if "node_modules" not in path.parts
        for number, words in found(path.read_text("utf-8"))
    ]
    assert faults == [], "\n".join(["", *faults])


def test_words_and_names_are_found() -> None:
    text = "It tells.\ntest_x_is_told\nretell, mendacious, recommended\nfile.tell()\nIt goes on.\nlets clients in."
    assert found(text) == [(1, "tells"), (2, "told"), (5, "goes on"), (6, "lets clients in")]
