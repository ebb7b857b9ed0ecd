import { expect, test, vi } from "vitest";

test("the young generation is collected once for every 16 MiB that moved", async () => {
  const gc = vi.fn<(options: object) => void>();
  vi.stubGlobal("gc", gc);
  vi.resetModules();
  const { noteMoved } = await import("#lib/outside-memory.ts");
  for (let mib = 0; mib < 40; mib++) noteMoved(1024 * 1024);
  vi.unstubAllGlobals();
  expect(gc).toHaveBeenCalledTimes(2);
  expect(gc).toHaveBeenCalledWith({ type: "minor" });
});
