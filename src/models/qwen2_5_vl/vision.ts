/**
 * @file The vision tower of Qwen2.5-VL (arXiv 2502.13923, section 2.1): patches in, one feature per visual token out.
 * Class and property names are those of transformers' modeling_qwen2_5_vl.py and of the checkpoints.
 */

import { flashVarlen, type Lengths, offsetsOf, takesVarlen } from "../../nn/attention/varlen-kernel.ts";
import {
  GELU,
  inverseFrequencies,
  type LayerRunner,
  Linear,
  Module,
  Parameter,
  RMSNorm,
  type Rotation,
  rotate,
  rotation,
  runLayers,
  SwiGLU,
  steadyRows,
} from "../../nn/index.ts";
import {
  add,
  cat,
  indexSelect,
  linear,
  narrow,
  reshape,
  scaledDotProductAttention,
  scope,
  select,
  type Tensor,
  tensorFrom,
  toDtype,
  transpose,
  view,
  zeros,
} from "../../torch/index.ts";
import type { Grid } from "../prompt.ts";
import type { VisionConfig } from "./config.ts";
import { inverse, planWindows, type Runs, visualTokens, type WindowPlan } from "./window-plan.ts";

/** A pass of fewer is filled up: fewer rows meet other matrix kernels, whose sums have other bits. */
const fewestUnits = 16;

const normEpsilon = 1e-6; // fixed in the reference, not configured

class PatchProjection extends Module {
  readonly weight: Parameter; // [hidden, channels, frames, height, width]

  constructor(shape: readonly number[]) {
    super();
    this.weight = new Parameter(shape);
  }
}

/** The convolution over non-overlapping patches, written as the matrix product that it is. */
class PatchEmbed extends Module {
  readonly proj: PatchProjection;
  readonly #width: number;

  constructor(config: VisionConfig) {
    super();
    const { hiddenSize, temporalPatchSize, patchSize } = config;
    this.#width = 3 * temporalPatchSize * patchSize ** 2;
    this.proj = new PatchProjection([hiddenSize, 3, temporalPatchSize, patchSize, patchSize]);
  }

  /** patches [patches, 3 * frames * height * width] in any float dtype -> [patches, hidden] */
  forward(patches: Tensor): Tensor {
    const { weight } = this.proj;
    return linear(toDtype(patches, weight.dtype), reshape(weight.value, [-1, this.#width]));
  }
}

class VisionAttention extends Module {
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #heads: number;

  constructor(config: VisionConfig) {
    super();
    this.qkv = new Linear(config.hiddenSize, 3 * config.hiddenSize, { bias: true });
    this.proj = new Linear(config.hiddenSize, config.hiddenSize, { bias: true });
    this.#heads = config.heads;
  }

  /** x [patches, hidden] -> the same; each patch attends to its run. */
  forward(x: Tensor, turn: Rotation, layout: AttentionLayout): Tensor {
    const [patches, hidden] = [x.size(0), x.size(1)];
    const qkv = view(this.qkv.forward(x), [patches, 3, this.#heads, hidden / this.#heads]);
    // The reference turns queries and keys in float32, whatever the model's dtype.
    const turned = (part: number): Tensor =>
      scope(() => toDtype(rotate(toDtype(select(qkv, 1, part), "float32"), turn), x.dtype));
    const attended = layout.attend(turned(0), turned(1), select(qkv, 1, 2));
    return this.proj.forward(view(attended, [patches, hidden]));
  }
}

class VisionBlock extends Module {
  readonly norm1: RMSNorm;
  readonly norm2: RMSNorm;
  readonly attn: VisionAttention;
  readonly mlp: SwiGLU;

  constructor(config: VisionConfig) {
    super();
    this.norm1 = new RMSNorm(config.hiddenSize, normEpsilon);
    this.norm2 = new RMSNorm(config.hiddenSize, normEpsilon);
    this.attn = new VisionAttention(config);
    this.mlp = new SwiGLU(config.hiddenSize, config.intermediateSize, { bias: true });
  }

  /** x [patches, hidden] -> the same */
  forward(x: Tensor, turn: Rotation, layout: AttentionLayout): Tensor {
    // A scope of its own: what attention holds is freed before the MLP begins.
    const attended = scope(() => add(x, this.attn.forward(this.norm1.forward(x), turn, layout)));
    return add(attended, this.mlp.forward(this.norm2.forward(attended)));
  }
}

/** Joins the patches of a unit into one visual token of the decoder's width. */
class PatchMerger extends Module {
  readonly lnQ: RMSNorm;
  readonly mlp: readonly [Linear, GELU, Linear];
  readonly #width: number;

  constructor(config: VisionConfig) {
    super();
    this.#width = config.hiddenSize * config.spatialMergeSize ** 2;
    this.lnQ = new RMSNorm(config.hiddenSize, normEpsilon);
    this.mlp = [
      new Linear(this.#width, this.#width, { bias: true }),
      new GELU(),
      new Linear(this.#width, config.outHiddenSize, { bias: true }),
    ];
  }

  /** x [patches, hidden] -> [units, outHidden] */
  forward(x: Tensor): Tensor {
    const [first, activation, last] = this.mlp;
    return last.forward(activation.forward(first.forward(view(this.lnQ.forward(x), [-1, this.#width]))));
  }
}

/** Runs of patches that attend within themselves, with the order in which they lie side by side. */
class AttentionLayout {
  readonly #runs: readonly Runs[];
  /** From the window layout to the order of the runs and back; absent where they are the same. */
  readonly #order: { readonly there: Tensor; readonly back: Tensor } | undefined;
  /** Where all runs are one call of the kernel. */
  readonly #varlen: Lengths<Tensor> | undefined;

  constructor(
    runs: readonly Runs[],
    { order, varlen }: { order?: { there: Tensor; back: Tensor } | undefined; varlen?: Lengths<Tensor> | undefined },
  ) {
    this.#runs = runs;
    this.#order = order;
    this.#varlen = varlen;
  }

  /** q, k, v [patches, heads, width] -> [patches, heads, width] */
  attend(q: Tensor, k: Tensor, v: Tensor): Tensor {
    if (!this.#order) return this.#attendInOrder(q, k, v);
    const { there, back } = this.#order;
    const [orderedQ, orderedK, orderedV] = [q, k, v].map((x) => indexSelect(x, 0, there)) as [Tensor, Tensor, Tensor];
    return indexSelect(this.#attendInOrder(orderedQ, orderedK, orderedV), 0, back);
  }

  #attendInOrder(q: Tensor, k: Tensor, v: Tensor): Tensor {
    if (this.#varlen) return flashVarlen(q, k, v, this.#varlen, { causal: false });
    const [, heads, width] = q.shape as readonly [number, number, number];
    const parts: Tensor[] = [];
    let start = 0;
    for (const { count, length } of this.#runs) {
      const batch = (x: Tensor): Tensor =>
        transpose(view(narrow(x, 0, start, count * length), [count, length, heads, width]), 1, 2);
      const attended = scaledDotProductAttention(batch(q), batch(k), batch(v));
      parts.push(reshape(transpose(attended, 1, 2), [count * length, heads, width]));
      start += count * length;
    }
    return parts.length === 1 && parts[0] ? parts[0] : cat(parts, 0);
  }
}

/** What all blocks of one pass share. */
export interface VisionPass {
  readonly plan: WindowPlan;
  readonly turn: Rotation;
  readonly windows: AttentionLayout;
  readonly frames: AttentionLayout;
}

export class VisionTransformer extends Module {
  readonly patchEmbed: PatchEmbed;
  readonly blocks: readonly VisionBlock[];
  readonly merger: PatchMerger;
  readonly #config: VisionConfig;

  constructor(config: VisionConfig) {
    super();
    this.#config = config;
    this.patchEmbed = new PatchEmbed(config);
    this.blocks = Array.from({ length: config.depth }, () => new VisionBlock(config));
    this.merger = new PatchMerger(config);
  }

  /**
   * The features of pictures and videos, all in one pass.
   *
   * @param patches [patches, 3 * frames * height * width], unit by unit in picture order, as the processor lays them out
   * @param grids the pictures and videos they belong to, in order
   * @param run how the blocks run; what it keeps for later may need what the surrounding scope holds
   * @returns [visual tokens, hidden of the decoder] in picture order
   */
  forward(patches: Tensor, grids: readonly Grid[], run: LayerRunner = runLayers): Tensor {
    return this.merge(this.encode(patches, grids, run));
  }

  /** As forward, up to the merger -> [patches, hidden] in picture order */
  encode(patches: Tensor, grids: readonly Grid[], run: LayerRunner = runLayers): Tensor {
    const merge = this.#config.spatialMergeSize;
    const units = grids.reduce((sum, grid) => sum + visualTokens(grid, merge), 0);
    if (units >= fewestUnits) return this.#encode(patches, grids, run);
    const padding = { t: 1, h: merge, w: merge * (fewestUnits - units) };
    const blank = zeros([padding.h * padding.w, patches.size(1)], patches.dtype, null, patches.device);
    const encoded = this.#encode(cat([patches, blank], 0), [...grids, padding], run);
    return narrow(encoded, 0, 0, patches.size(0));
  }

  #encode(patches: Tensor, grids: readonly Grid[], run: LayerRunner): Tensor {
    const pass = this.prepare(grids, patches.device);
    const embedded = this.embed(patches, pass);
    const forward = (block: VisionBlock, x: Tensor, index: number): Tensor =>
      block.forward(x, pass.turn, this.layout(index, pass));
    return this.inPictureOrder(run(this.blocks, embedded, forward), pass);
  }

  prepare(grids: readonly Grid[], device: string): VisionPass {
    const { hiddenSize, heads } = this.#config;
    const plan = planWindows(grids, this.#config);
    const inOrder = plan.frameOrder.every((place, index) => place === index);
    const there = this.#patchesOf(plan.frameOrder);
    const index = (places: Int32Array): Tensor => tensorFrom(places, [places.length], "int32", device);
    const varlen = takesVarlen({ dtype: this.patchEmbed.proj.weight.dtype, device }, hiddenSize / heads);
    const layout = (runs: readonly Runs[], order?: { there: Tensor; back: Tensor }): AttentionLayout =>
      new AttentionLayout(runs, { order, varlen: varlen ? lengthsOf(runs, index) : undefined });
    return {
      plan,
      turn: this.#rotation(grids, this.#patchesOf(plan.unitOrder), device),
      windows: layout(plan.windows),
      frames: inOrder ? layout(plan.frames) : layout(plan.frames, { there: index(there), back: index(inverse(there)) }),
    };
  }

  /** -> [patches, hidden] in the window layout */
  embed(patches: Tensor, { plan }: VisionPass): Tensor {
    return this.#moveUnits(this.patchEmbed.forward(patches), plan.unitOrder);
  }

  layout(block: number, pass: VisionPass): AttentionLayout {
    return this.#config.fullAttentionBlocks.includes(block) ? pass.frames : pass.windows;
  }

  /** [patches, hidden] in the window layout -> in picture order */
  inPictureOrder(x: Tensor, { plan }: VisionPass): Tensor {
    return this.#moveUnits(x, plan.unitPlaces);
  }

  /** [patches, hidden] in picture order -> [visual tokens, hidden of the decoder] */
  merge(x: Tensor): Tensor {
    const patchesPerUnit = this.#config.spatialMergeSize ** 2;
    const units = x.size(0) / patchesPerUnit;
    const missing = steadyRows(units) - units;
    if (missing === 0) return this.merger.forward(x);
    const blank = zeros([missing * patchesPerUnit, x.size(1)], x.dtype, null, x.device);
    return narrow(this.merger.forward(cat([x, blank], 0)), 0, 0, units);
  }

  #moveUnits(x: Tensor, units: Int32Array): Tensor {
    const patches = this.#config.spatialMergeSize ** 2;
    const grouped = view(x, [units.length, patches, x.size(1)]);
    return view(indexSelect(grouped, 0, tensorFrom(units, [units.length], "int32", x.device)), x.shape);
  }

  /** Indices of units -> indices of their patches. */
  #patchesOf(units: Int32Array): Int32Array {
    const patches = this.#config.spatialMergeSize ** 2;
    return Int32Array.from({ length: units.length * patches }, (_, i) => {
      const unit = units[Math.floor(i / patches)] ?? 0;
      return unit * patches + (i % patches);
    });
  }

  /** The rotation by each patch's row and column, in the window layout. */
  #rotation(grids: readonly Grid[], patchOrder: Int32Array, device: string): Rotation {
    const quarter = this.#config.hiddenSize / this.#config.heads / 4;
    const frequencies = inverseFrequencies(2 * quarter, 10_000);
    const places = patchPlaces(grids, this.#config.spatialMergeSize);
    const angles = new Float32Array(patchOrder.length * 2 * quarter);
    for (const [index, patch] of patchOrder.entries()) {
      const row = places[2 * patch] ?? 0;
      const column = places[2 * patch + 1] ?? 0;
      for (const [i, frequency] of frequencies.entries()) {
        angles[index * 2 * quarter + i] = row * frequency;
        angles[index * 2 * quarter + quarter + i] = column * frequency;
      }
    }
    return rotation(angles, 2 * quarter, "float32", device);
  }
}

/** Each run's keys are its queries' own. */
function lengthsOf(runs: readonly Runs[], placed: (offsets: Int32Array) => Tensor): Lengths<Tensor> {
  const offsets = placed(offsetsOf(runs.flatMap(({ count, length }) => new Array<number>(count).fill(length))));
  const longest = Math.max(...runs.map(({ length }) => length));
  return { queries: offsets, keys: offsets, longestQueries: longest, longestKeys: longest };
}

/** -> row and column of every patch, in the processor's order: unit by unit, row by row within a unit. */
function patchPlaces(grids: readonly Grid[], merge: number): Int32Array {
  const places: number[] = [];
  for (const { t, h, w } of grids) {
    for (let frame = 0; frame < t; frame++) {
      for (let top = 0; top < h; top += merge) {
        for (let left = 0; left < w; left += merge) {
          for (let patch = 0; patch < merge ** 2; patch++) {
            places.push(top + Math.floor(patch / merge), left + (patch % merge));
          }
        }
      }
    }
  }
  return Int32Array.from(places);
}
