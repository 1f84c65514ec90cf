"""Where the checkout is; importing this makes its program and its tests' helpers importable."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "benchmarks"  # what is made here
sys.path[1:1] = [str(ROOT), str(ROOT / "tests")]  # behind this folder, which has names of its own
