"""Every submission of the table beside its key: what it earned, and whether that is what it must earn.

python -m tests.grade [NAME ...]      all rows, or these

Exit status 1 if one is treated otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.grade.submissions import ROWS, differs, write


def main(names: list[str]) -> int:
    rows = [row for row in ROWS if not names or row.name in names]
    with tempfile.TemporaryDirectory() as folder:
        place, key = write(rows, Path(folder))
        command = [sys.executable, "-m", "funcnet", "grade", place, "--key", key, "--json", "--hints", "4"]
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [*command, "--timeout", "10"], cwd=folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    students = {student["student"]: student for student in json.loads(done.stdout)["students"]}
    wrong = 0
    for row in rows:
        student = students[row.name]
        fault = differs(row, student)
        wrong += bool(fault)
        print(f"{row.name:18}{student['points']:>4g} of 5  {student['status']:14}{fault and f'OTHERWISE: {fault}'}")
    print(f"{len(rows) - wrong} of {len(rows)} are treated as they must be")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
