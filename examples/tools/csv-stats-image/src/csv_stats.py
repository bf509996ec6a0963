"""Statistics of the columns of a CSV text."""

import csv
import io
import math
import re

# The largest field `csv` takes; its own limit of 128 KiB is meant for files of unknown origin.
csv.field_size_limit(2**31 - 1)

# What counts as a number. `float` alone also takes "nan", "infinity" and "1_000".
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# Whole numbers up to here are exact in a float.
EXACT = 2**53


class TableError(Exception):
    """What is wrong with the table, said to the one who sent it."""


def read_columns(text):
    """The names of the columns, and for each the tuple of its cells."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    header = None
    rows = []
    try:
        for row in reader:
            if not row:  # an empty line
                continue
            if header is None:
                header = [name.strip() for name in row]
            elif len(row) == len(header):
                rows.append(row)
            else:
                raise TableError(
                    f"line {reader.line_num} has {len(row)} fields, the header has {len(header)}"
                )
    except csv.Error as error:
        raise TableError(f"line {reader.line_num}: {error}") from error
    if header is None:
        raise TableError("no header line")
    return header, list(zip(*rows)) or [()] * len(header)


def as_numbers(cells):
    """The cells as floats, or None when there is none or one is no finite number."""
    numbers = []
    for cell in cells:
        if not NUMBER.fullmatch(cell):
            return None
        number = float(cell)
        if math.isinf(number):
            return None
        numbers.append(number)
    return numbers or None


def plain(number):
    """A whole number without its `.0`."""
    return int(number) if number.is_integer() and abs(number) <= EXACT else number


def mean(numbers):
    try:
        return math.fsum(numbers) / len(numbers)
    except OverflowError:
        return math.fsum(number / len(numbers) for number in numbers)


def column(name, cells):
    """Empty cells are missing, and count for nothing else."""
    present = [cell for cell in map(str.strip, cells) if cell]
    numbers = as_numbers(present)
    return {
        "name": name,
        "count": len(present),
        "missing": len(cells) - len(present),
        "numeric": numbers is not None,
        "min": plain(min(numbers)) if numbers else None,
        "max": plain(max(numbers)) if numbers else None,
        "mean": plain(mean(numbers)) if numbers else None,
        "distinct": len(set(present)),
    }


def statistics(text):
    header, columns = read_columns(text)
    return {
        "rows": len(columns[0]),
        "columns": [column(name, cells) for name, cells in zip(header, columns)],
    }
