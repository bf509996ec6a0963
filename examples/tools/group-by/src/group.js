/** What is wrong with the rows, said to the one who sent them. */
export class RowError extends Error {}

function describe(value) {
  if (value === null) return "null";
  if (typeof value === "object") return Array.isArray(value) ? "an array" : "an object";
  return `a ${typeof value}`;
}

/** A row's own value of `field`; null when it has none. */
function field(row, name) {
  return Object.hasOwn(row, name) ? row[name] : null;
}

class Group {
  count = 0;
  values = 0;
  sum = 0;
  min = Infinity;
  max = -Infinity;

  add(value) {
    this.values += 1;
    this.sum += value;
    this.min = Math.min(this.min, value);
    this.max = Math.max(this.max, value);
  }

  summary() {
    if (this.values === 0) return { sum: 0, mean: null, min: null, max: null };
    if (!Number.isFinite(this.sum)) throw new RowError("a sum is too large for a number");
    return { sum: this.sum, mean: this.sum / this.values, min: this.min, max: this.max };
  }
}

/**
 * Groups `rows` by the value of the field `by`: by value and type, so 1 and "1" are two groups, and
 * a row without the field belongs to null. With `sum`, each group also gets the sum, mean, minimum
 * and maximum of that field; rows where it is absent or null are left out of those.
 *
 * Groups stand in the order in which their first rows stand.
 */
export function groupBy({ rows, by, sum }) {
  const groups = new Map();
  rows.forEach((row, index) => {
    const key = field(row, by);
    if (typeof key === "object" && key !== null) {
      throw new RowError(`row ${index}: \`${by}\` is ${describe(key)}, not a plain value`);
    }
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = new Group()));
    group.count += 1;

    const value = sum === undefined ? null : field(row, sum);
    if (value === null) return;
    if (typeof value !== "number") {
      throw new RowError(`row ${index}: \`${sum}\` is ${describe(value)}, not a number`);
    }
    group.add(value);
  });

  return {
    rows: rows.length,
    groups: Array.from(groups, ([key, group]) => ({
      key,
      count: group.count,
      ...(sum === undefined ? {} : group.summary()),
    })),
  };
}
