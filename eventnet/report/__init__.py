"""What a run came to: as the table in which it ends, and as a page to look around in."""

from eventnet.report.page import write
from eventnet.report.table import print_summary

__all__ = ["print_summary", "write"]
