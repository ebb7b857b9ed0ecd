import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rounds } from "#lib/testing/rounds.ts";
import { openLayer } from "#objects/testing/open-layer.ts";
import { step, Twins } from "#objects/testing/twins.ts";

describe("versions", () => {
  test("whatever is done to a bucket, it stays what a simple model says", async () => {
    const property = fc.asyncProperty(
      fc.constantFrom("unversioned" as const, "enabled" as const, "suspended" as const),
      fc.array(step, { minLength: 1, maxLength: 40, size: "max" }),
      fc.integer(),
      async (versioning, steps, seed) => {
        const layer = await openLayer(seed);
        const twins = new Twins(layer, await layer.makeBucket("bucket", versioning));
        for (const change of steps) await twins.apply(change);
      },
    );
    await expect(fc.assert(property, { numRuns: rounds(100) })).resolves.toBeUndefined();
  });
});
