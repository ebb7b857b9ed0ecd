/**
 * Computes lost blocks from others. It works strip by strip in a small memory that stays in the
 * processor's cache, so that the copies in and out cost little and no stripe memory is needed to read.
 */
import type { BlockMath } from "#codec/block-math.ts";
import type { Matrix } from "#codec/gf256.ts";
import { DATA_SHARDS_MAX, PARITY_SHARDS_MAX } from "#codec/storage-class.ts";

const STRIP_BYTES = 16 * 1024;
export const RECOVERY_BYTES = (DATA_SHARDS_MAX + PARITY_SHARDS_MAX) * STRIP_BYTES;

export class BlockRecovery {
  readonly #math: BlockMath;
  readonly #inputs: readonly number[];
  readonly #outputs: readonly number[];

  constructor(math: BlockMath) {
    this.#math = math;
    const strips = Array.from(
      { length: DATA_SHARDS_MAX + PARITY_SHARDS_MAX },
      (_, index) => math.start + index * STRIP_BYTES,
    );
    this.#inputs = strips.slice(0, DATA_SHARDS_MAX);
    this.#outputs = strips.slice(DATA_SHARDS_MAX);
  }

  /** One block for each row of the matrix; the given blocks are all of one length. */
  recover(matrix: Matrix, given: readonly Uint8Array[]): readonly Uint8Array[] {
    const length = given[0]?.length ?? 0;
    if (given.some((block) => block.length !== length)) {
      throw new Error(
        `Cannot rebuild blocks: those given have ${given.map((block) => block.length).join(", ")} bytes`,
      );
    }
    const recovered = matrix.map(() => Buffer.allocUnsafe(length));
    for (let row = 0; row < matrix.length; row += PARITY_SHARDS_MAX) {
      const rows = { from: row, to: row + PARITY_SHARDS_MAX };
      this.#fill(recovered.slice(rows.from, rows.to), matrix.slice(rows.from, rows.to), given);
    }
    return recovered;
  }

  #fill(blocks: readonly Buffer[], matrix: Matrix, given: readonly Uint8Array[]): void {
    const { memory } = this.#math;
    const inputs = this.#inputs.slice(0, given.length);
    const outputs = this.#outputs.slice(0, blocks.length);
    const total = given[0]?.length ?? 0;
    for (let start = 0; start < total; start += STRIP_BYTES) {
      const length = Math.min(STRIP_BYTES, total - start);
      given.forEach((block, index) =>
        memory.set(block.subarray(start, start + length), inputs[index]),
      );
      this.#math.multiply(matrix, { inputs, outputs, length });
      blocks.forEach((block, index) => {
        const strip = outputs[index] as number;
        block.set(memory.subarray(strip, strip + length), start);
      });
    }
  }
}
