# SPDX-License-Identifier: MIT
"""Prometheus' text format 0.0.4, read strictly: whatever a server would refuse or misread is an error here."""

import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')
VALUE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Inf|NaN)")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


class Family:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.samples = {}  # (suffix, labels as a sorted tuple) → value


def _labels(text):
    labels, at = [], 0
    while at < len(text):
        m = LABEL.match(text, at)
        assert m, f"labels: {text!r}"
        value = re.sub(r"\\(.)", lambda e: "\n" if e[1] == "n" else e[1], m[2])
        labels.append((m[1], value))
        at = m.end()
        if at < len(text):
            assert text[at] == ",", f"labels: {text!r}"
            at += 1
    assert len({k for k, _ in labels}) == len(labels), f"a label twice: {text!r}"
    return tuple(sorted(labels))


def _sample(line, family):
    m = NAME.match(line)
    assert m, line
    suffix = m[0][len(family.name):] if m[0].startswith(family.name) else None
    assert suffix in SUFFIXES.get(family.kind, ("",)), f"{m[0]} in the family {family.name}"
    rest, labels = line[m.end():], ()
    if rest.startswith("{"):
        end = rest.rindex("}")
        labels, rest = _labels(rest[1:end]), rest[end + 1:]
    assert rest.startswith(" ") and VALUE.fullmatch(rest[1:]), f"value: {line!r}"
    key = (suffix, labels)
    assert key not in family.samples, f"twice: {line}"
    family.samples[key] = float(rest[1:])
    assert family.kind == "gauge" or family.samples[key] >= 0, f"a negative count: {line}"


def _check_histogram(family):
    rows = {}
    for (suffix, labels), value in family.samples.items():
        who = tuple(p for p in labels if p[0] != "le")
        row = rows.setdefault(who, {"buckets": []})
        if suffix == "_bucket":
            row["buckets"].append((float(dict(labels)["le"]), value))
        else:
            row[suffix] = value
    for who, row in rows.items():
        buckets = row["buckets"]
        assert [b for b, _ in buckets] == sorted(b for b, _ in buckets), f"{who}: buckets are not sorted"
        assert [n for _, n in buckets] == sorted(n for _, n in buckets), f"{who}: buckets fall"
        assert buckets[-1][0] == float("inf") and buckets[-1][1] == row["_count"], f"{who}: +Inf is not the count"
        assert "_sum" in row, f"{who}: no sum"


def parse(text):
    """Name → Family."""
    families, family, helped = {}, None, None
    assert text.endswith("\n"), "no line end at the end"
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped, sentence = line[7:].split(" ", 1)
            assert NAME.fullmatch(helped) and sentence, line
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == helped, f"TYPE without HELP: {line}"
            assert kind in ("counter", "gauge", "histogram"), line
            assert name not in families, f"a family in two places: {name}"
            assert kind != "counter" or name.endswith("_total"), f"a counter's name ends in _total: {name}"
            assert not re.search("(milli|micro|nano)seconds", name), f"times are in seconds: {name}"
            family = families[name] = Family(name, kind)
        else:
            assert family, f"a sample before any family: {line}"
            _sample(line, family)
    for f in families.values():
        if f.kind == "histogram":
            _check_histogram(f)
    return families


def value(families, name, suffix="", **labels):
    """Sum of the samples that bear all these labels."""
    wanted = set(labels.items())
    return sum(v for (s, ls), v in families[name].samples.items() if s == suffix and wanted <= set(ls))
