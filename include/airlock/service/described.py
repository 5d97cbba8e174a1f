"""JSON Schemas of models with a description of every field: the text below the field, else that of ``Field``.

Read from the source on demand, so that the texts cost no parse of the DAGs anything.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

Schema = dict[str, Any]


def described(model: type[BaseModel]) -> Schema:
    """Return the JSON Schema of *model* as pydantic makes it, with descriptions."""
    return model.model_json_schema(schema_generator=_Described)


def documented(model: type[BaseModel]) -> str:
    """Return what *model* says of itself."""
    return _plain(model.__doc__ or "")


class _Described(GenerateJsonSchema):
    def model_schema(self, schema: ModelSchema) -> Schema:
        found = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        if "description" in found:
            found["description"] = _plain(found["description"])
        texts = _field_texts(model)
        for name, info in model.model_fields.items():
            shown = found.get("properties", {}).get(info.alias or name)
            if shown is not None and name in texts:
                shown["description"] = texts[name]
        return found


@lru_cache
def _field_texts(model: type[BaseModel]) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for one, following in itertools.pairwise(body):
            if (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(following, ast.Expr)
                    and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str)):
                found[one.target.id] = _plain(following.value.value)
    return found


def _plain(text: str) -> str:
    """Return *text* in one line, with code marked as editors show it."""
    return " ".join(text.replace("``", "`").split())
