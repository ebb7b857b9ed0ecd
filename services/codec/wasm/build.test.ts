import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { compileKernel, KERNELS, kernelFile } from "#codec/wasm/build.ts";

test.each(KERNELS)("the committed %s is what its source compiles to", async (kernel) => {
  const committed = await readFile(kernelFile(kernel, ".wasm"));
  expect(committed.equals(await compileKernel(kernel)), "run npm run wasm").toBe(true);
});
