"""The formats of strings that can be held to."""

from __future__ import annotations

_DIGITS_OF_LEAP_YEARS = '( "0" [48] | [2468] [048] | [13579] [26] )'

RULES = {
    "year": "[12] [0-9]{3}",
    "month-day": (
        '( "0" [13578] | "1" [02] ) "-" ( "0" [1-9] | [12] [0-9] | "3" [01] ) '
        '| ( "0" [469] | "11" ) "-" ( "0" [1-9] | [12] [0-9] | "30" ) '
        '| "02-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] )'
    ),
    "date": f'year "-" month-day | [12] [0-9] {_DIGITS_OF_LEAP_YEARS} "-02-29"',
    "hour": '[01] [0-9] | "2" [0-3]',
    "clock": 'hour ":" [0-5] [0-9] ":" [0-5] [0-9] ( "." [0-9]{1,6} )?',
    "time": 'clock ( "Z" | [-+] hour ":" [0-5] [0-9] )',
    "date-time": 'date "T" time',
    "uuid": 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
    "octet": '"0" | [1-9] [0-9]? | "1" [0-9]{2} | "2" [0-4] [0-9] | "25" [0-5]',
    "ipv4": 'octet "." octet "." octet "." octet',
    "label": "[a-z0-9] ( [a-z0-9-]{0,20} [a-z0-9] )?",
    "hostname": 'label ( "." label ){0,3} "." [a-z]{2,8}',
    "email": '[a-zA-Z0-9] ( [a-zA-Z0-9_+-]{0,30} [a-zA-Z0-9] )? "@" hostname',
    "uri": '"http" "s"? "://" hostname ( "/" [a-zA-Z0-9._~-]{0,40} ){0,6}',
    "duration": (
        '"P" ( [0-9]{1,4} "D" ( "T" span )? | "T" span | [0-9]{1,4} "W" | [0-9]{1,4} "Y" ( [0-9]{1,2} "M" )? )'
    ),
    "span": 'count "H" ( count "M" ( count "S" )? )? | count "M" ( count "S" )? | count "S"',
    "count": "[0-9]{1,4}",
}

FORMATS = {
    **{name: name for name in ("date", "time", "date-time", "uuid", "ipv4", "hostname", "email", "uri", "duration")},
    "url": "uri",
}
"""Each format, and the rule for what stands between the quotation marks."""

LENGTHS = {
    "date": (10, 10),
    "time": (9, 21),
    "date-time": (20, 32),
    "uuid": (36, 36),
    "ipv4": (7, 15),
    "hostname": (4, 97),
    "email": (6, 130),
    "uri": (11, 351),
    "url": (11, 351),
    "duration": (3, 24),
}
"""The shortest and the longest string of each format, or less and more."""

WITHOUT_FORM = frozenset({"password", "binary", "byte", "path", "file-path", "directory-path"})
"""Formats that say what a string is for, not what it looks like."""

NUMERIC = frozenset({"int32", "int64", "float", "double"})
"""Formats of numbers, which say how they are kept."""
