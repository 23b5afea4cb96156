"""Make the benchmarks importable: they are not installed with the package."""

import sys
from pathlib import Path

# Last, so that what is installed wins over the sources that lie beside the benchmarks.
sys.path.append(str(Path(__file__).resolve().parents[3]))
