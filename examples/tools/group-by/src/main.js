// group-by: {"rows": [...], "by": field, "sum": field} on standard input, groups on standard output.

import { exit } from "wasi:cli/exit@0.2.0";
import { groupBy, RowError } from "./group.js";
import { readInput, writeLog, writeOutput } from "./stdio.js";

export const run = {
  run() {
    try {
      writeOutput(JSON.stringify(groupBy(JSON.parse(readInput()))) + "\n");
    } catch (error) {
      writeLog(`group-by: ${error instanceof RowError ? error.message : error}\n`);
      exit({ tag: "err" });
    }
  },
};
