/** For tests: what a client sends that uploads in aws-chunked. */
import { createHash } from "node:crypto";
import type { ChunkSigning } from "#gateway/auth/payload.ts";
import { SigningKey } from "#gateway/auth/signing-key.ts";

export const SIGNING: ChunkSigning = {
  key: new SigningKey(Buffer.alloc(32, 7)),
  timestamp: "20261122T123015Z",
  scope: "20261122/us-east-1/s3/aws4_request",
  seed: "5".repeat(64),
};

/** The parts of a framed body, so that tests can leave out, exchange or repeat them. */
export interface Framed {
  /** Header line, data and line end of each chunk, the last of which is empty. */
  readonly chunks: readonly Buffer[];
  readonly trailer: Buffer;
}

export function framed(
  data: readonly Buffer[],
  {
    signing,
    trailers,
  }: {
    signing?: ChunkSigning | undefined;
    trailers?: Readonly<Record<string, string>> | undefined;
  },
): Framed {
  let previous = signing?.seed ?? "";
  const chunks = [...data, Buffer.alloc(0)].map((bytes) => {
    const size = bytes.length.toString(16);
    const end = bytes.length === 0 ? "" : "\r\n";
    if (!signing) return Buffer.concat([Buffer.from(`${size}\r\n`), bytes, Buffer.from(end)]);
    previous = sign(signing, "AWS4-HMAC-SHA256-PAYLOAD", [previous, sha256(""), sha256(bytes)]);
    const header = Buffer.from(`${size};chunk-signature=${previous}\r\n`);
    return Buffer.concat([header, bytes, Buffer.from(end)]);
  });
  const lines = Object.entries(trailers ?? {}).map(([name, value]) => `${name}:${value}`);
  if (signing && trailers) {
    const text = lines.map((line) => `${line}\n`).join("");
    const signature = sign(signing, "AWS4-HMAC-SHA256-TRAILER", [previous, sha256(text)]);
    lines.push(`x-amz-trailer-signature:${signature}`);
  }
  return { chunks, trailer: Buffer.from(`${lines.map((line) => `${line}\r\n`).join("")}\r\n`) };
}

export function joined({ chunks, trailer }: Framed): Buffer {
  return Buffer.concat([...chunks, trailer]);
}

function sign(
  { key, timestamp, scope }: ChunkSigning,
  algorithm: string,
  rest: readonly string[],
): string {
  return key.sign([algorithm, timestamp, scope, ...rest].join("\n")).toString("hex");
}

function sha256(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}
