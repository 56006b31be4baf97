"""What this machine and this installation can do, and what to mend (docs/doctor.md).

Everything here works where other parts of the program don't: it needs the standard library alone,
and libraries are imported in processes of their own.
"""

from miracle_core.doctor.examination import GROUPS, Examination, examine
from miracle_core.doctor.findings import Finding, State

__all__ = ["GROUPS", "Examination", "Finding", "State", "examine"]
