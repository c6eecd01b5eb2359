# SPDX-License-Identifier: MIT
"""Reads tests/h1/NAME.tsv, as cases.c does."""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([rnt]))")
REPEAT = re.compile(r"\{([^{}]*)\*([0-9]+)\}")
LETTERS = {"r": "\r", "n": "\n", "t": "\t"}


class Case:
    def __init__(self, source, columns):
        self.source = source
        self.name, self.verdict = columns[0], columns[1]
        self.data = unescape(columns[2]) if len(columns) > 2 else b""
        self.expected = [(c[0], unescape(c[1:])) for c in columns[3:] if c]


def unescape(text):
    text = REPEAT.sub(lambda m: m[1] * int(m[2]), text)
    text = ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else LETTERS[m[2]], text)
    return text.encode("latin-1")


def escape(data):
    """One line of text that unescape understands."""
    out = []
    for b in data:
        c = chr(b)
        out.append({"\r": "\\r", "\n": "\\n", "\t": "\\t"}.get(c) or
                   (c if 32 <= b < 127 and c not in "\\{}" else "\\x%02x" % b))
    return "".join(out)


def load(name):
    cases, source = [], ""
    with open(os.path.join(HERE, name + ".tsv"), encoding="latin-1", newline="\n") as f:
        for line in f.read().split("\n"):
            if line.startswith("#"):
                source = line[1:].strip()
            elif line:
                cases.append(Case(source, line.split("\t")))
    return cases
