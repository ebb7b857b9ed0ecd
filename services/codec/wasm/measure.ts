/** Measures the codec and the checksums on this machine: `node services/codec/wasm/measure.ts`. README.md keeps the figures. */
import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { CodecByName } from "#codec/codec-by-name.ts";
import { type ChecksumAlgorithm, createChecksum } from "#lib/checksums.ts";
import { md5 } from "#lib/md5.ts";

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
const ROUNDS = 40;

const lines: string[] = [];
const body = Buffer.alloc(32 * MEBIBYTE);
for (let index = 0; index < body.length; index += 1)
  body[index] = Math.imul(index, 0x9e3779b1) >>> 24;

await measureCodecs(["replica-3", "ec-2+1", "ec-4+2", "ec-6+3", "ec-8+4", "ec-16+8"]);
for (const algorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const) {
  measureHash(algorithm, (bytes) => checksum(algorithm, bytes));
}
measureHash("CRC32 (zlib)", (bytes) => crc32(bytes));
measureHash("MD5", md5);
measureHash("MD5 by crypto.hash, hex", (bytes) => hash("md5", bytes));
measureHash("MD5 by crypto.hash, buffer", (bytes) => hash("md5", bytes, "buffer"));
process.stdout.write(`${lines.join("\n")}\n`);

async function measureCodecs(names: readonly string[]): Promise<void> {
  const codecs = new CodecByName();
  for (const name of names) {
    const codec = codecs.codec(name);
    const stripe = codec.k * codec.unit;
    const bytes = body.subarray(0, stripe);
    const encoder = await codec.encoder(AbortSignal.timeout(60_000), undefined);
    const encode = () => {
      for (let start = 0; start < stripe; start += 64 * KIBIBYTE) {
        encoder.push(bytes.subarray(start, start + 64 * KIBIBYTE));
      }
      return encoder.finish();
    };
    report(
      `${name} gather and encode`,
      stripe,
      time(() => encode().release()),
    );
    const full = encode();
    const blocks = full.blocks.map((pieces) => Buffer.concat(pieces));
    for (const lost of codec.m > 1 ? [1, codec.m] : [1]) {
      const left = blocks.map((block, shard) => (shard < lost ? undefined : block));
      report(
        `${name} decode, ${lost} lost`,
        stripe,
        time(() => codec.decode(left, stripe)),
      );
    }
    full.release();
    encoder.discard();
    await measureSmall(codecs, name);
  }
}

async function measureSmall(codecs: CodecByName, name: string): Promise<void> {
  const codec = codecs.codec(name);
  const signal = AbortSignal.timeout(60_000);
  const bytes = body.subarray(0, 4 * KIBIBYTE);
  const times: number[] = [];
  for (let round = 0; round < 4000; round += 1) {
    const start = performance.now();
    const encoder = await codec.encoder(signal, bytes.length);
    encoder.push(bytes);
    encoder.finish().release();
    times.push(performance.now() - start);
  }
  report(`${name} encode 4 KiB`, bytes.length, times.toSorted((a, b) => a - b)[400] ?? 0);
}

function measureHash(name: string, digest: (bytes: Buffer) => unknown): void {
  for (const length of [4 * KIBIBYTE, 64 * KIBIBYTE, MEBIBYTE]) {
    const bytes = body.subarray(0, length);
    report(
      `${name}, ${length / KIBIBYTE} KiB`,
      length,
      time(() => digest(bytes)),
    );
  }
}

function checksum(algorithm: ChecksumAlgorithm, bytes: Uint8Array): Buffer {
  const running = createChecksum(algorithm);
  running.update(bytes);
  return running.digest();
}

/** Milliseconds of one call: the best round, since other work on the machine only ever slows. */
function time(call: () => unknown): number {
  const start = performance.now();
  call();
  const calls = Math.max(1, Math.ceil(4 / Math.max(performance.now() - start, 0.001)));
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round += 1) {
    const from = performance.now();
    for (let index = 0; index < calls; index += 1) call();
    best = Math.min(best, (performance.now() - from) / calls);
  }
  return best;
}

function report(what: string, bytes: number, milliseconds: number): void {
  const rate = ((bytes / milliseconds) * 1000) / MEBIBYTE;
  const columns = [`${Math.round(rate)} MiB/s`, `${(milliseconds * 1000).toFixed(2)} µs`];
  lines.push(what.padEnd(32) + columns.map((column) => column.padStart(16)).join(""));
}
