"""Whether a system keeps the contract: ``miracle check``, and the tests of every system here."""

from miracle_core.check.suite import CHECKS, BrokenContractError, Check, check_system
from miracle_core.check.workshop import Workshop

__all__ = ["CHECKS", "BrokenContractError", "Check", "Workshop", "check_system"]
