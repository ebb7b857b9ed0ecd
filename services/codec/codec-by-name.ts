/** The codecs of a process, made when first asked for; those of one process share its stripe memory. */
import { BlockRecovery, RECOVERY_BYTES } from "#codec/block-recovery.ts";
import type { Codec } from "#codec/codec.ts";
import { ReedSolomon } from "#codec/reed-solomon.ts";
import { Replication } from "#codec/replication.ts";
import { defaultUnit, parseCodecName } from "#codec/storage-class.ts";
import { StripePool } from "#codec/stripe-pool.ts";
import { wasmBlockMath } from "#codec/wasm/kernel.ts";
import { BufferPool } from "#lib/buffer-pool.ts";

/** Ten stripes of ec-4+2: enough to keep the disks busy while further bodies wait their turn. */
export const STRIPE_MEMORY_BYTES = 64 * 1024 * 1024;
/** Of copies: what waits for its next use. */
const FREE_BYTES_MAX = 16 * 1024 * 1024;
/** Two stripes of the code that needs most, 4+8. */
const STRIPE_MEMORY_MIN = 25 * 1024 * 1024;

export class CodecByName {
  readonly #codecs = new Map<string, Map<number, Codec>>();
  readonly #buffers = new BufferPool(FREE_BYTES_MAX);
  readonly #memory: { pool: () => StripePool; recovery: () => BlockRecovery };

  constructor({ stripeMemoryBytes = STRIPE_MEMORY_BYTES }: { stripeMemoryBytes?: number } = {}) {
    const bytes = Math.max(stripeMemoryBytes, STRIPE_MEMORY_MIN);
    this.#memory = {
      pool: once(() => new StripePool(wasmBlockMath(bytes))),
      recovery: once(() => new BlockRecovery(wasmBlockMath(RECOVERY_BYTES))),
    };
  }

  /** The codec of new objects, or with the unit of an extent that of objects already written. Throws when there is none of that name. */
  codec(name: string, unit?: number): Codec {
    const known = unit === undefined ? undefined : this.#codecs.get(name)?.get(unit);
    return known ?? this.#make(name, unit);
  }

  #make(name: string, givenUnit: number | undefined): Codec {
    const shape = parseCodecName(name);
    if (!shape)
      throw new Error(`Cannot use storage class: ${name} is neither replica-n nor ec-k+m`);
    const unit = givenUnit ?? defaultUnit(shape);
    const ofName = this.#codecs.get(name) ?? new Map<number, Codec>();
    this.#codecs.set(name, ofName);
    const codec =
      ofName.get(unit) ??
      (shape.kind === "replica"
        ? new Replication({ name, copies: shape.copies, unit }, this.#buffers)
        : new ReedSolomon({ name, k: shape.k, m: shape.m, unit }, this.#memory));
    ofName.set(unit, codec);
    return codec;
  }
}

function once<Value extends object>(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
