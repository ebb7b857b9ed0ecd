/** Loads a committed WebAssembly kernel onto a memory of the caller's. */
import { readFileSync } from "node:fs";

const WASM_PAGE_BYTES = 65_536;

export interface KernelMemory {
  readonly buffer: ArrayBuffer;
}

/** Memory of a size that never changes: growing it would take the ground from under every view. */
export function fixedMemory(bytes: number): KernelMemory {
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
  return new WebAssembly.Memory({ initial: pages, maximum: pages });
}

/** The kernel's exports. It has a few kilobytes and compiles within a millisecond, so nobody need wait for a promise. */
export function loadKernel(file: URL, memory: KernelMemory): object {
  const module = new WebAssembly.Module(readFileSync(file));
  return new WebAssembly.Instance(module, { env: { memory } }).exports;
}

/** What is used of it here; the types of Node leave it to those of browsers. */
declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum: number }) => KernelMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { env: { memory: KernelMemory } },
  ) => { readonly exports: object };
};
