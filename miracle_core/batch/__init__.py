"""Recommendations for many users, written part by part (docs/recommend.md)."""

from miracle_core.batch.job import BatchResult, no_lists, recommend_batch
from miracle_core.batch.parts import check_out
from miracle_core.batch.sources import Source, all_users, json_requests, named_users

__all__ = [
    "BatchResult",
    "Source",
    "all_users",
    "check_out",
    "json_requests",
    "named_users",
    "no_lists",
    "recommend_batch",
]
