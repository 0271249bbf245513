/**
 * @file `npm start`: sets up what is missing, then scores the shipped examples.
 */
import { requireNode } from "./node-version.mjs";

requireNode();
const { launch } = await import("./launch.mjs");
await launch(["demo", ...process.argv.slice(2)]);
