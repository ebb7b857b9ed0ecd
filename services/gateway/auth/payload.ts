/** What x-amz-content-sha256 announces of a body, and what is needed to verify it. */
import type { SigningKey } from "#gateway/auth/signing-key.ts";
import type { PayloadMode } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

/** What the signatures of chunks are chained to. */
export interface ChunkSigning {
  readonly key: SigningKey;
  /** `20130524T000000Z`. */
  readonly timestamp: string;
  /** `20130524/us-east-1/s3/aws4_request`. */
  readonly scope: string;
  /** The request's own signature, in hex. */
  readonly seed: string;
}

export interface Payload {
  readonly mode: PayloadMode;
  /** With "hash". */
  readonly sha256: Buffer | undefined;
  /** With the signed chunks. */
  readonly signing: ChunkSigning | undefined;
}

export const UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD";

export const UNSIGNED: Payload = { mode: "unsigned", sha256: undefined, signing: undefined };

const STREAMS: ReadonlyMap<string, PayloadMode> = new Map([
  ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "signed-chunks"],
  ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "signed-chunks-trailer"],
  ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "unsigned-chunks-trailer"],
]);

const SHA256 = /^[0-9a-fA-F]{64}$/;

/**
 * `streams`: whether the operation takes aws-chunked bodies. `signing` is undefined when nobody signed the request.
 * To be called once the signature is known to be right: what is forged gets no other answer than that it is forged.
 */
export function parsePayload(
  value: string,
  { streams, signing }: { streams: boolean; signing: ChunkSigning | undefined },
): Payload {
  if (value === UNSIGNED_PAYLOAD) return UNSIGNED;
  if (SHA256.test(value)) {
    return { mode: "hash", sha256: Buffer.from(value, "hex"), signing: undefined };
  }
  const mode = STREAMS.get(value);
  if (!mode) {
    if (value.startsWith("STREAMING-AWS4-ECDSA-P256-SHA256-")) throw new S3Error("NotImplemented");
    throw invalidPayload(value);
  }
  if (!streams) throw invalidPayload(value);
  if (mode === "unsigned-chunks-trailer") return { mode, sha256: undefined, signing: undefined };
  if (!signing) {
    throw new S3Error("InvalidRequest", {
      message: `${value} needs a signed request: its chunks are signed after it.`,
    });
  }
  return { mode, sha256: undefined, signing };
}

function invalidPayload(value: string): S3Error {
  return new S3Error("InvalidArgument", {
    message:
      "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    elements: { ArgumentName: "x-amz-content-sha256", ArgumentValue: value },
  });
}
