import { describe, expect, test } from "vitest";
import { encode, someBytes } from "#codec/codec.contract.ts";
import { CodecByName } from "#codec/codec-by-name.ts";
import { codecName, defaultUnit, parseCodecName, shardCount } from "#codec/storage-class.ts";

const MEBIBYTE = 1024 * 1024;

describe("codec names", () => {
  test("are read and spelled back", () => {
    expect(parseCodecName("replica-3")).toEqual({ kind: "replica", copies: 3 });
    expect(parseCodecName("ec-16+8")).toEqual({ kind: "ec", k: 16, m: 8 });
    for (const name of ["replica-1", "replica-9", "ec-1+1", "ec-4+2", "ec-10+4"]) {
      const shape = parseCodecName(name);
      expect(shape && codecName(shape)).toBe(name);
    }
  });

  test.each([
    "replica-0",
    "replica-10",
    "replica-03",
    "ec-4",
    "ec-17+2",
    "ec-4+9",
    "ec-0+2",
    "ec-4+0",
  ])("%s is none", (name) => expect(parseCodecName(name)).toBeUndefined());

  test.each(["ec-04+2", "EC-4+2", "ec-4+2 ", "", "STANDARD", "replica-3\n"])("%j is none", (name) =>
    expect(parseCodecName(name)).toBeUndefined(),
  );

  test("stand for so many shards", () => {
    expect(shardCount({ kind: "replica", copies: 3 })).toBe(3);
    expect(shardCount({ kind: "ec", k: 4, m: 2 })).toBe(6);
  });
});

describe("the default unit", () => {
  test("is 1 MiB for copies and for up to four data shards", () => {
    expect(defaultUnit({ kind: "replica", copies: 2 })).toBe(MEBIBYTE);
    expect(defaultUnit({ kind: "ec", k: 4, m: 2 })).toBe(MEBIBYTE);
  });

  test("keeps a stripe within 4 MiB of data and is a multiple of 64 KiB", () => {
    for (let k = 1; k <= 16; k += 1) {
      const unit = defaultUnit({ kind: "ec", k, m: 2 });
      expect(unit % 65_536).toBe(0);
      expect(unit * k).toBeLessThanOrEqual(4 * MEBIBYTE);
      expect((unit + 65_536) * Math.max(k, 4)).toBeGreaterThan(4 * MEBIBYTE);
    }
  });
});

describe("codecs by name", () => {
  const codecs = new CodecByName({ stripeMemoryBytes: 32 * MEBIBYTE });

  test("are the same object for the same name and unit", () => {
    const codec = codecs.codec("ec-4+2");
    expect(codecs.codec("ec-4+2", MEBIBYTE)).toBe(codec);
    expect(codecs.codec("ec-4+2", 65_536)).not.toBe(codec);
    expect([codec.name, codec.k, codec.m, codec.unit]).toEqual(["ec-4+2", 4, 2, MEBIBYTE]);
    expect(codecs.codec("replica-3").m).toBe(2);
  });

  test("are refused under other names", () => {
    expect(() => codecs.codec("ec-4+9")).toThrow("ec-4+9 is neither replica-n nor ec-k+m");
  });

  test("hold the promise with their real units", async () => {
    for (const name of ["replica-2", "ec-4+2", "ec-6+3", "ec-16+8", "ec-1+8"]) {
      const codec = codecs.codec(name);
      const body = someBytes(codec.k * codec.unit + 70_001);
      const stripes = await encode(codec, body, 65_536);
      const decoded = stripes.flatMap((blocks, index) => {
        const left = blocks.map((block, shard) => (shard < codec.m ? undefined : block));
        return codec.decode(left, index === 0 ? codec.k * codec.unit : 70_001);
      });
      expect(Buffer.concat(decoded).equals(body), `${name} reads back`).toBe(true);
    }
  });

  test("share one memory, in turn", async () => {
    const { signal } = new AbortController();
    const held = [
      await codecs.codec("ec-4+2").encoder(signal, undefined),
      await codecs.codec("ec-6+3").encoder(signal, undefined),
    ];
    const waiting = codecs.codec("ec-4+2").encoder(signal, undefined);
    const outcome = await Promise.race([waiting, new Promise((resolve) => setImmediate(resolve))]);
    expect(outcome).toBeUndefined();
    for (const encoder of held) encoder.discard();
    (await waiting).discard();
  });
});
