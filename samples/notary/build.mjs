// Builds the app into dist/ as a node takes it: app.json, and in src/ one module with everything that it imports.
// With --tests, builds the unit tests instead, each into one module that Node.js runs.

import { build } from "esbuild";
import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";

const tests = process.argv.includes("--tests");
const output = tests ? "dist/test" : "dist/src";

rmSync(tests ? "dist/test" : "dist", { recursive: true, force: true });
mkdirSync(output, { recursive: true });
await build({
  entryPoints: tests ? readdirSync("test").map((name) => `test/${name}`) : ["src/app.ts"],
  bundle: true,
  format: "esm",
  target: "es2020",
  platform: tests ? "node" : "neutral",
  outdir: output,
  outExtension: tests ? { ".js": ".mjs" } : {},
  logLevel: "warning",
});
if (!tests) {
  copyFileSync("app.json", "dist/app.json");
}
