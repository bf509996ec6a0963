"""csv-stats: {"csv": text} on standard input, statistics on standard output."""

import json
import sys

from componentize_py_types import Err
from wit_world import exports

from csv_stats import TableError, statistics


class Run(exports.Run):
    """The export `wasi:cli/run`: raising `Err` ends the command with status 1."""

    def run(self):
        try:
            result = statistics(json.load(sys.stdin.buffer)["csv"])
        except TableError as error:
            print(f"csv-stats: {error}", file=sys.stderr)
            raise Err(None)
        json.dump(result, sys.stdout, ensure_ascii=False)
        print()
