"""What a bulk job leaves to look at: results, `report.json`, a gallery, and files other tools read."""

from sd3async.bulk.report.write import write_out

__all__ = ["write_out"]
