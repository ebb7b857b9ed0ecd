/**
 * Compiles the WebAssembly kernels: `npm run wasm`. What it makes is committed, so that running the
 * store needs no compiler; build.test.ts holds the two together.
 */
import { readFile, writeFile } from "node:fs/promises";
import { main as asc } from "assemblyscript/asc";

/** Kernels, as paths from services/ without their endings. */
export const KERNELS = ["codec/wasm/reed-solomon", "lib/wasm/crc64nvme"] as const;

const SERVICES = new URL("../../", import.meta.url);

const OPTIONS =
  "--optimizeLevel 3 --shrinkLevel 0 --runtime stub --noAssert --enable simd --enable relaxed-simd " +
  // The memory is the caller's, who knows how large it is to be.
  "--importMemory --initialMemory 1";

/** The bytes of a kernel, compiled from its source. */
export async function compileKernel(kernel: string): Promise<Uint8Array> {
  const source = await readFile(kernelFile(kernel, ".as.ts"), "utf8");
  let compiled: Uint8Array | undefined;
  let complaints = "";
  const options = ["kernel.ts", "--outFile", "kernel.wasm", ...OPTIONS.split(" ")];
  const { error } = await asc(options, {
    stderr: {
      write: (text) => {
        complaints += text.toString();
      },
    },
    readFile: (name) => (name === "kernel.ts" ? source : null),
    writeFile: (_name, contents) => {
      if (typeof contents !== "string") compiled = contents;
    },
    listFiles: () => [],
  });
  if (error || !compiled) {
    throw new Error(`Cannot compile ${kernel}: ${complaints}`, { cause: error });
  }
  return compiled;
}

export function kernelFile(kernel: string, ending: ".as.ts" | ".wasm"): URL {
  return new URL(`${kernel}${ending}`, SERVICES);
}

if (import.meta.main) {
  for (const kernel of KERNELS) {
    await writeFile(kernelFile(kernel, ".wasm"), await compileKernel(kernel));
  }
}
