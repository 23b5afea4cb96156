"""What a bulk job leaves to look at: `report.json`, a gallery, and files other tools read."""

from sd3async.bulk.report.formats import ExportFormat, check_formats, export
from sd3async.bulk.report.write import write_reports

__all__ = ["ExportFormat", "check_formats", "export", "write_reports"]
