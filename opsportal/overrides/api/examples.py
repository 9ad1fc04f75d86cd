"""Bodies that the OpenAPI document shows; every one of them is tried by the tests."""

from typing import Any

from drf_spectacular.utils import OpenApiExample


def _request(name: str, value: dict[str, Any]) -> list[OpenApiExample]:
    return [OpenApiExample(name, value=value, request_only=True)]


NEW_BLOCKS = _request(
    "Block two products everywhere, at once and without an end",
    {
        "product_ids": ["85123A", "00701"],
        "reason_code": "safety",
        "reason": "Recall 2026-17: the plug overheats.",
        "ticket": "OPS-1482",
    },
)
NEW_BOOSTS = _request(
    "Boost a product on one surface",
    {
        "product_ids": ["85123A"],
        "surface": "*",
        "factor": 1.5,
        "ends_at": "2026-12-24T18:00:00Z",
        "reason_code": "campaign",
        "reason": "Christmas campaign.",
    },
)
NEW_OPT_OUTS = _request(
    "A customer called",
    {
        "customer_ids": ["C-20417"],
        "purposes": ["personalisation", "sharing"],
        "channel": "phone",
        "reason": "Asked on the phone.",
        "received_at": "2026-11-20T09:30:00+01:00",
    },
)
OPT_OUT_SEARCH = _request("Has this customer opted out?", {"customer_id": "C-20417"})
WITHDRAWAL = _request("Withdraw", {"reason": "The supplier has fixed it.", "ticket": "OPS-1490"})
NEW_END = _request("A new end", {"ends_at": "2026-12-31T23:00:00Z", "reason": "Goes on until New Year."})
VERDICT = _request("Approve", {"version": 1, "comment": "Checked with the shop."})
REJECTION = _request("Reject", {"version": 1, "comment": "The ticket number is wrong."})
