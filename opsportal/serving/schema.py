"""The decision routes in the OpenAPI document: plain views, so their msgspec shapes speak for them."""

from typing import Any

import msgspec

from opsportal.serving.api import shapes

_REFERENCE = "#/components/schemas/{name}"
_SECURITY: list[dict[str, list[str]]] = [{"ApiKey": []}, {"Session": []}]
_FROM_DATABASE = {
    "X-Served-From": {
        "description": "`database` while the store is away: the answer is as true, only slower.",
        "schema": {"type": "string", "enum": ["database"]},
    }
}
_POSTS: list[tuple[str, str, str, type[msgspec.Struct], type[msgspec.Struct]]] = [
    (
        "decisions",
        "decide",
        "Which candidates are blocked or boosted",
        shapes.DecisionRequest,
        shapes.DecisionAnswer,
    ),
    ("rank", "rank", "Candidates in final order", shapes.RankRequest, shapes.RankAnswer),
    (
        "decisions/explain",
        "explain_decision",
        "Every rule that touches a product, and which one wins",
        shapes.ExplainRequest,
        shapes.ExplainAnswer,
    ),
]


def add_decision_paths(result: dict[str, Any], **_options: Any) -> dict[str, Any]:
    """Add the decision routes and their shapes to the document; `core.schema` adds their errors after."""
    types = [shape for post in _POSTS for shape in (post[3], post[4])]
    _schemas, components = msgspec.json.schema_components(
        [*types, shapes.HeadAnswer, shapes.ThresholdsAnswer], ref_template=_REFERENCE
    )
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components)
    paths = result.setdefault("paths", {})
    for route, name, summary, wish, answer in _POSTS:
        paths[f"/api/v1/{route}"] = {
            "post": {
                "operationId": name,
                "summary": summary,
                "tags": ["serving"],
                "security": _SECURITY,
                "requestBody": {"required": True, "content": _json(_reference(wish))},
                "responses": {
                    "200": {
                        "description": summary,
                        "headers": _FROM_DATABASE,
                        "content": _json(_reference(answer)),
                    },
                },
            }
        }
    paths["/api/v1/serving/head"] = {"get": _head_operation()}
    paths["/api/v1/serving/thresholds"] = {"get": _thresholds_operation()}
    result["paths"] = dict(sorted(paths.items()))
    return result


def _head_operation() -> dict[str, Any]:
    tag = {"ETag": {"schema": {"type": "string"}, "description": "Changes with the store's content."}}
    return {
        "operationId": "serving_head",
        "summary": "How far the store is",
        "tags": ["serving"],
        "security": _SECURITY,
        "parameters": [{"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}],
        "responses": {
            "200": {
                "description": "The store's head",
                "headers": {**tag, **_FROM_DATABASE},
                "content": _json(_reference(shapes.HeadAnswer)),
            },
            "304": {"description": "Nothing has changed", "headers": tag},
        },
    }


def _thresholds_operation() -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"}
    return {
        "operationId": "serving_thresholds",
        "summary": "Published thresholds of models",
        "description": "From the threshold on (score >= threshold) a version's decision is the positive one. "
        "A version that is not listed keeps the threshold it was registered with.",
        "tags": ["serving"],
        "security": _SECURITY,
        "parameters": [
            {
                "name": "model",
                "in": "query",
                "description": "A model's name; may be repeated. All models without it.",
                "schema": {"type": "array", "items": name, "maxItems": 100},
            }
        ],
        "responses": {
            "200": {
                "description": "Published thresholds",
                "headers": _FROM_DATABASE,
                "content": _json(_reference(shapes.ThresholdsAnswer)),
            }
        },
    }


def _reference(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=shape.__name__)}


def _json(schema: dict[str, str]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
