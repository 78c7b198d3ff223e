// Reads a JSON list of LogQL expressions from stdin; writes a list of where each one is broken, or null.
import { parser } from "@grafana/lezer-logql";
import { readFileSync } from "node:fs";

function broken(expression) {
  let at = null;
  parser.parse(expression).iterate({
    enter(node) {
      if (node.type.isError && at === null) at = node.from;
    },
  });
  return at;
}

const expressions = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(expressions.map(broken)));
