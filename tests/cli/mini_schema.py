"""As much of JSON Schema (draft 2020-12) as a recipe's schema uses; a keyword that it does not know is an error."""

from __future__ import annotations

from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
#: keywords that refuse nothing
NOTES = {"$schema", "$defs", "title", "description", "default", "properties", "prefixItems", "then"}


def faults(value: Any, schema: dict[str, Any], place: str = "", root: dict[str, Any] | None = None) -> list[str]:
    """Where and how `value` is not what `schema` allows."""
    root = schema if root is None else root
    found: list[str] = []
    for keyword, wanted in schema.items():
        if keyword not in NOTES:
            found += KEYWORDS[keyword](value, wanted, place, root, schema)
    return found


def _type(value: Any, wanted: str, place: str, *_: Any) -> list[str]:
    right = isinstance(value, TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
    return [] if right else [f"{place}: {value!r} is no {wanted}"]


def _reference(value: Any, wanted: str, place: str, root: dict[str, Any], _: Any) -> list[str]:
    return faults(value, root["$defs"][wanted.removeprefix("#/$defs/")], place, root)


def _any_of(value: Any, wanted: list[Any], place: str, root: dict[str, Any], _: Any) -> list[str]:
    tried = [faults(value, one, place, root) for one in wanted]
    return [] if [] in tried else [f"{place}: {value!r} is none of {len(wanted)} possibilities"]


def _all_of(value: Any, wanted: list[Any], place: str, root: dict[str, Any], _: Any) -> list[str]:
    return [fault for one in wanted for fault in faults(value, one, place, root)]


def _if(value: Any, wanted: Any, place: str, root: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    inside = [fault for key, one in wanted["properties"].items() for fault in faults(value.get(key), one, key, root)]
    return [] if inside else faults(value, schema["then"], place, root)


def _additional(value: Any, wanted: Any, place: str, root: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    known = schema.get("properties", {})
    found = []
    for key, entry in value.items() if isinstance(value, dict) else ():
        inside = f"{place}.{key}".lstrip(".")
        if key in known:
            found += faults(entry, known[key], inside, root)
        elif wanted is False:
            found.append(f"{inside}: unknown key")
        elif isinstance(wanted, dict):
            found += faults(entry, wanted, inside, root)
    return found


def _items(value: Any, wanted: Any, place: str, root: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    if not isinstance(value, list):
        return []
    first = schema.get("prefixItems", [])
    kinds = [*first, *[wanted] * (len(value) - len(first))]
    pairs = zip(value, kinds, strict=False)
    return [fault for n, (one, kind) in enumerate(pairs) for fault in faults(one, kind, f"{place}[{n}]", root)]


def _bound(name: str, holds: Any, kinds: tuple[type, ...], measure: Any = lambda value: value) -> Any:
    def check(value: Any, wanted: Any, place: str, *_: Any) -> list[str]:
        wrong = isinstance(value, kinds) and not holds(measure(value), wanted)
        return [f"{place}: {value!r} is against {name} {wanted!r}"] if wrong else []

    return check


NUMBERS, ANY = (int, float), (object,)
KEYWORDS: dict[str, Any] = {
    "type": _type,
    "$ref": _reference,
    "anyOf": _any_of,
    "allOf": _all_of,
    "if": _if,
    "additionalProperties": _additional,
    "items": lambda *given: _items(*given) if isinstance(given[1], dict) else [],
    "required": _bound("required", lambda value, keys: set(keys) <= value.keys(), (dict,)),
    "enum": _bound("enum", lambda value, options: value in options, ANY),
    "const": _bound("const", lambda value, only: value == only, ANY),
    "minimum": _bound("minimum", lambda value, least: value >= least, NUMBERS),
    "maximum": _bound("maximum", lambda value, most: value <= most, NUMBERS),
    "exclusiveMinimum": _bound("exclusiveMinimum", lambda value, least: value > least, NUMBERS),
    "exclusiveMaximum": _bound("exclusiveMaximum", lambda value, most: value < most, NUMBERS),
    "minItems": _bound("minItems", lambda count, least: count >= least, (list,), len),
    "maxItems": _bound("maxItems", lambda count, most: count <= most, (list,), len),
    "minProperties": _bound("minProperties", lambda count, least: count >= least, (dict,), len),
    "propertyNames": lambda value, wanted, place, root, _: [
        fault for key in (value if isinstance(value, dict) else ()) for fault in faults(key, wanted, place, root)
    ],
    "minLength": _bound("minLength", lambda count, least: count >= least, (str,), len),
}
