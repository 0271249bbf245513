/**
 * @file `npm run build`: sets up what is missing and stops there.
 */
import { requireNode } from "./node-version.mjs";

requireNode();
const { setUp } = await import("./launch.mjs");
await setUp();
