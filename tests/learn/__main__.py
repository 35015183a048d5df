"""The share of wrong answers to which ``funcnet learn`` gives the right hints.

python -m tests.learn [EXERCISE ...]      the whole table, or the rows of these exercises

Exit status 1 if it is below what was reached.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.learn.wrong import ROWS, answered, is_told, said

LEAST = 0.95  # reached were 0.968


def main(names: list[str]) -> int:
    rows = [row for row in ROWS if not names or row.exercise in names]
    right, vague, seconds = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            start = time.perf_counter()
            answer = answered(row, Path(folder))
            seconds.append(time.perf_counter() - start)
            told = is_told(row, answer)
            right += told
            vague += told and any(mistake == "unexplained" for mistake, _ in said(answer).values())
            if not told:
                got = said(answer) or answer.refused or (answer.report.verdict, answer.report.conditions)
                print(f"{row.exercise}: {row.old!r} -> {row.new!r}\n    asked {row.told}\n    said  {got}", flush=True)
    quick = sum(s < 5 for s in seconds)
    print(f"hints right: {right} of {len(rows)} ({right / len(rows):.1%})")
    print(f"{quick} within 5 s, the slowest in {max(seconds):.1f} s")
    print(f"of these {vague} get no name, as is asked: unexplained")
    return int(right < LEAST * len(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
