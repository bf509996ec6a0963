"""csv-stats: {"csv": text} on standard input, statistics on standard output."""

import json
import sys

sys.dont_write_bytecode = True  # /tool is read-only

from csv_stats import TableError, statistics


def main():
    try:
        result = statistics(json.load(sys.stdin.buffer)["csv"])
    except TableError as error:
        sys.exit(f"csv-stats: {error}")
    text = json.dumps(result, ensure_ascii=False)
    sys.stdout.buffer.write(text.encode() + b"\n")


main()
