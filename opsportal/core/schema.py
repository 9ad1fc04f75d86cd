"""What holds for every operation of the OpenAPI document: the errors, and that unknown fields are refused."""

from typing import Any

PROBLEM = {
    "type": "object",
    "description": "RFC 9457, with a stable `code` and one entry per wrong place.",
    "properties": {
        "type": {"type": "string", "example": "urn:opsportal:problem:required"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Where, as in `product_ids[3]`."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
                "required": ["path", "code", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail", "errors"],
}
# Status → when, for every operation; those with a body and those on one thing have more.
EVERYWHERE = {
    400: "The input breaks a rule; nothing was saved.",
    401: "No key, or one that is unknown, expired or revoked.",
    403: "The key lacks the scope, or the person's roles do not allow this.",
    406: "Only JSON is offered.",
    429: "Too often; `Retry-After` says when to come back.",
    500: "A fault of ours.",
    503: "Something we depend on does not answer; nothing was saved.",
}
WITH_A_BODY = {
    409: "The state has changed, or the Idempotency-Key was used for other content.",
    413: "The body is too large, or it names too many items.",
    415: "The body is not JSON.",
}
ON_ONE_THING = {404: "There is no such thing, or the caller may not see it."}


def describe_problems(
    result: dict[str, Any], generator: object, request: object, public: bool
) -> dict[str, Any]:
    """Add the errors to every operation under /api/v1/, and close the bodies against unknown fields."""
    components = result.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    statuses = {**EVERYWHERE, **WITH_A_BODY, **ON_ONE_THING}
    components["responses"] = {f"Problem{status}": _response(text) for status, text in statuses.items()}
    for path, operations in result["paths"].items():
        if not path.startswith("/api/v1/"):
            continue
        for operation in operations.values():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            known = dict(EVERYWHERE)
            if "requestBody" in operation:
                known.update(WITH_A_BODY)
                _close(schemas, operation["requestBody"])
            if "{" in path:
                known.update(ON_ONE_THING)
            responses = operation["responses"]
            for status in known:
                responses.setdefault(str(status), {"$ref": f"#/components/responses/Problem{status}"})
            operation["responses"] = dict(sorted(responses.items()))
    _strip(result)
    return result


def _response(text: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}


def _close(schemas: dict[str, Any], body: dict[str, Any]) -> None:
    for media in body.get("content", {}).values():
        schema = media.get("schema", {})
        name = schema.get("$ref", "").removeprefix("#/components/schemas/")
        target = schemas.get(name, schema)
        if target.get("type") == "object":
            target.setdefault("additionalProperties", False)


def _strip(node: Any) -> None:
    """Take out the notes that drf-spectacular leaves to itself."""
    if isinstance(node, dict):
        node.pop("x-spec-enum-id", None)
        for inner in node.values():
            _strip(inner)
    elif isinstance(node, list):
        for inner in node:
            _strip(inner)
