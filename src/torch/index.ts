/** @file The front door of the tensor library: everything above imports from here. */

export * from "./autograd.ts";
export { chooseDevice, libtorchBuild, libtorchVersion, listDevices, setThreadCount, threadCount } from "./device.ts";
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
