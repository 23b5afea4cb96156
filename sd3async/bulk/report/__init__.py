"""What a bulk job leaves to look at: `report.json`, a gallery, and files other tools read."""

from sd3async.bulk.report.formats import export
from sd3async.bulk.report.write import write_reports

__all__ = ["export", "write_reports"]
