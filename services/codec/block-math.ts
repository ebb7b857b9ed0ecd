/** Matrix products over blocks that lie in one memory: what Reed–Solomon needs of a processor. */
import { addMultiple, type Matrix } from "#codec/gf256.ts";

/** A block's memory is a multiple of this, since a kernel works in such steps and writes past a block's end. */
export const BLOCK_ALIGNMENT = 64;

export interface BlockMath {
  /** The memory; its size never changes. Blocks may lie from `start` on. */
  readonly memory: Buffer;
  readonly start: number;
  /**
   * outputs[i] = Σ matrix[i][j] × inputs[j], each `length` bytes from an offset in the memory.
   * What follows an output up to the next multiple of BLOCK_ALIGNMENT is undefined afterwards.
   */
  multiply(
    matrix: Matrix,
    blocks: {
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
      readonly length: number;
    },
  ): void;
}

/** The plain reference, one byte after the other. */
export function plainBlockMath(bytes: number): BlockMath {
  const memory = Buffer.alloc(bytes);
  return {
    memory,
    start: 0,
    multiply(matrix, { inputs, outputs, length }) {
      const block = (offset: number) => memory.subarray(offset, offset + length);
      matrix.forEach((row, index) => {
        const sums = block(outputs[index] as number).fill(0);
        row.forEach((coefficient, column) =>
          addMultiple(sums, coefficient, block(inputs[column] as number)),
        );
      });
    },
  };
}
