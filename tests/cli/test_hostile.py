"""1,500 pieces of bad input, see hostile.py: each is refused in one clear line, or
turns out to be good after all.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parents[1] / "helpers" / "hostile.py"
FEW = 75  # all kinds have their share of every so many


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(FEW, 20 * FEW, FEW))]
)
def test_bad_input_is_refused_in_one_line(first):
    done = subprocess.run(
        [sys.executable, HOSTILE, f"{first}-{first + FEW}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done
    *wrong, total = map(json.loads, done.stdout.splitlines())
    shown = [
        f"{about['kind']}, `python tests/helpers/hostile.py {about['number']}`: "
        f"{'; '.join(about['faults'])}\n    {about['case']}\n    {about['err'][-300:]!r}"
        for about in wrong
    ]
    assert not wrong, "\n" + "\n".join(shown)
    assert total["cases"] == FEW and len(total["counts"]) >= 12, total
