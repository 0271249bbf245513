/** @file The front door of the tensor library: everything above imports from here. */

export * from "./autograd.ts";
export {
  chooseDevice,
  deviceMemory,
  deviceWords,
  keepMemory,
  libtorchBuild,
  libtorchVersion,
  listDevices,
  setThreadCount,
  standardThreadCount,
  threadCount,
} from "./device.ts";
export { endProcess, Heartbeat } from "./distributed/heartbeat.ts";
export { type ProcessEnvironment, processEnvironment } from "./distributed/process-environment.ts";
export { type Backend, type GroupOptions, ProcessGroup, type Reduction } from "./distributed/process-group.ts";
export * from "./ops.ts";
export { Generator } from "./random.ts";
export {
  bytesPerElement,
  type Device,
  type Dtype,
  type FileTensor,
  keep,
  liveTensors,
  mapFile,
  scope,
  Tensor,
  tensorFrom,
} from "./tensor.ts";
export { setTracer, type Tracer, traced } from "./trace.ts";
