#!/usr/bin/env node
/**
 * @file The `vl-reward` command: sets up what is missing (saying so on standard error), then runs dist/cli/main.js.
 */
import { requireNode } from "../setup/node-version.mjs";

requireNode();
const { launch } = await import("../setup/launch.mjs");
await launch(process.argv.slice(2));
