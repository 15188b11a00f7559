"""What /openapi.json, and so /docs, says of every field and parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from schwabot.server.app import create_app
from schwabot.server.hub import Hub
from schwabot.server.settings import ServerConfig

UNITS = {"_ns": "ns", "_ms": "ms", "_bp": "bp", "_s": "s", "price": "quote currency"}
"""What a name ends in, and what its description must say in return."""


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return create_app(ServerConfig(), Hub(ServerConfig())).openapi()


def told(described: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Where, name, description: of every field of every shape, and of every parameter."""
    for shape, schema in described["components"]["schemas"].items():
        for name, one in schema.get("properties", {}).items():
            yield shape, name, one.get("description", "")
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for one in operation.get("parameters", ()):
                yield f"{method} {path}", one["name"], one.get("description", "")


def test_every_field_and_parameter_says_what_it_is(described: dict[str, Any]) -> None:
    found = list(told(described))
    assert len(found) > 250
    assert [(where, name) for where, name, said in found if not said.strip()] == []


def test_every_shape_and_path_says_what_it_is(described: dict[str, Any]) -> None:
    schemas = {name: one for name, one in described["components"]["schemas"].items() if not name.startswith("Page_")}
    assert [name for name, one in schemas.items() if not one.get("description")] == []
    assert [path for path, one in described["paths"].items() for op in one.values() if not op.get("description")] == []


def test_what_has_a_unit_names_it(described: dict[str, Any]) -> None:
    unsaid = [
        (where, name, unit)
        for where, name, said in told(described)
        for end, unit in UNITS.items()
        if name.endswith(end)
        if not re.search(rf"\b{unit}\b", said)
    ]
    assert unsaid == []
