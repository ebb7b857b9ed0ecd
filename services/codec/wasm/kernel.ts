/** Reed–Solomon's inner loop in WebAssembly SIMD; reed-solomon.as.ts is its source. */
import type { BlockMath } from "#codec/block-math.ts";
import type { Matrix } from "#codec/gf256.ts";
import { fixedMemory, loadKernel } from "#lib/wasm/load-kernel.ts";

interface Kernel {
  prepare(): void;
  multiply(rows: number, columns: number, length: number): void;
}

/** Offsets of the kernel's control area. */
const INPUTS = 0;
const OUTPUTS = 64;
const MATRIX = 128;
const MATRIX_COLUMNS = 16;
/** Control area and tables, rounded up to a page of the pool. */
const CONTROL_BYTES = 65_536;

/** `bytes` for blocks in a memory of its own; the system gives pages only to what is used of it. */
export function wasmBlockMath(bytes: number): BlockMath {
  const wasm = fixedMemory(CONTROL_BYTES + bytes);
  const kernel = loadKernel(new URL("reed-solomon.wasm", import.meta.url), wasm) as Kernel;
  kernel.prepare();
  const memory = Buffer.from(wasm.buffer);
  const inputAddresses = new Uint32Array(wasm.buffer, INPUTS, 16);
  const outputAddresses = new Uint32Array(wasm.buffer, OUTPUTS, 8);
  let loaded: Matrix | undefined;

  return {
    memory,
    start: CONTROL_BYTES,
    multiply(matrix, { inputs, outputs, length }) {
      if (matrix !== loaded) {
        matrix.forEach((row, index) => memory.set(row, MATRIX + index * MATRIX_COLUMNS));
        loaded = matrix;
      }
      inputAddresses.set(inputs);
      outputAddresses.set(outputs);
      kernel.multiply(matrix.length, inputs.length, length);
    },
  };
}
