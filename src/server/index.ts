/** @file The reward server as a library: `vl-reward/server`. docs/serving.md has an example. */

export { type AppOptions, createApp } from "./app.ts";
export { Keys } from "./keys.ts";
export { MediaRegistry, type Registered, type RegistryLimits } from "./media-registry.ts";
export { defaultLimits, type RequestLimits } from "./served.ts";
export { type ServedModel, ServedModels } from "./served-models.ts";
export { policyOfServer } from "./sources.ts";
