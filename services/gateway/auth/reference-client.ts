/** For tests: a client that signs with AWS's own signer (@smithy/signature-v4), and what such a client sends. */
import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import type { User } from "#access/users.ts";
import { UserTable } from "#access/users-file.ts";
import {
  type Authentication,
  authenticate,
  type UnverifiedRequest,
  type Verifier,
} from "#gateway/auth/authenticate.ts";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { SigningKeys } from "#gateway/auth/signing-key.ts";
import { S3Error } from "#gateway/errors.ts";

export const NOW_MS = Date.UTC(2026, 10, 22, 12, 30, 15);

export const ALICE: User = {
  name: "alice",
  ownerId: "a".repeat(64),
  displayName: "Alice",
  email: undefined,
  accessKey: "ALICE0123456789",
  secretKey: "alice+secret/key=0123456789",
};

/** The SHA-256 of some body. */
export const HASH = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";

export const MINUTE_MS = 60_000;

/** A request with some of everything. */
export const PLAIN: Plain = {
  method: "PUT",
  path: "/bucket/a%20folder/%C3%A9t%C3%A9.txt",
  query: { uploadId: "a+b/c", partNumber: "7" },
  headers: {
    "content-type": "text/plain",
    "x-amz-content-sha256": HASH,
    "x-amz-meta-colour": "red",
  },
};

/** A request as it is on the wire. Header names keep the client's letters. */
export interface WireRequest {
  readonly method: string;
  readonly rawPath: string;
  readonly rawQuery: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export interface Plain {
  readonly method?: string;
  /** As it goes over the wire. */
  readonly path?: string;
  /** Decoded. */
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Signing {
  readonly user?: Pick<User, "accessKey" | "secretKey">;
  readonly region?: string;
  readonly service?: string;
  readonly dateMs?: number;
  /** Headers that are sent but not signed. */
  readonly unsigned?: readonly string[];
}

/** Signed in the Authorization header. */
export async function signHeader(plain: Plain, signing: Signing = {}): Promise<WireRequest> {
  const request = await signer(signing).sign(httpRequest(plain), {
    signingDate: new Date(signing.dateMs ?? NOW_MS),
    unsignableHeaders: new Set(signing.unsigned ?? []),
  });
  return wire(request);
}

/** Signed in the query; the body stays open unless x-amz-content-sha256 says otherwise. */
export async function presign(
  plain: Plain,
  signing: Signing & { expiresIn?: number } = {},
): Promise<WireRequest> {
  const isOpen = !Object.keys(plain.headers ?? {}).includes(CONTENT_SHA256);
  const open = isOpen ? { [CONTENT_SHA256]: "UNSIGNED-PAYLOAD" } : {};
  const request = await signer(signing).presign(
    httpRequest({ ...plain, headers: { ...plain.headers, ...open } }),
    {
      signingDate: new Date(signing.dateMs ?? NOW_MS),
      expiresIn: signing.expiresIn ?? 900,
      unsignableHeaders: new Set([...(signing.unsigned ?? []), ...Object.keys(open)]),
      unhoistableHeaders: new Set([CONTENT_SHA256, ...Object.keys(plain.headers ?? {})]),
    },
  );
  const sent = wire(request);
  return isOpen
    ? { ...sent, headers: sent.headers.filter(([name]) => name !== CONTENT_SHA256) }
    : sent;
}

const CONTENT_SHA256 = "x-amz-content-sha256";

/** What the gateway makes of it. */
export function received(
  request: WireRequest,
  options: Partial<Verifier> & Pick<Partial<UnverifiedRequest>, "streams" | "hostedBucket"> = {},
): Authentication {
  const { streams = false, hostedBucket, ...verifier } = options;
  const { method, rawPath, rawQuery } = request;
  const headers = HeaderList.fromRaw(request.headers.flat());
  return authenticate(
    { method, rawPath, rawQuery, hostedBucket, headers, streams },
    {
      users: new UserTable([ALICE]),
      keys: new SigningKeys(),
      region: undefined,
      nowMs: NOW_MS,
      legacySignatures: false,
      ...verifier,
    },
  );
}

/** What the attempt is answered; a fault when it succeeds. */
export function refusal(attempt: () => unknown): S3Error {
  try {
    attempt();
  } catch (error) {
    if (error instanceof S3Error) return error;
    throw error;
  }
  throw new Error("It was let in");
}

export function withHeader(
  request: WireRequest,
  name: string,
  value: string | undefined,
): WireRequest {
  const others = request.headers.filter(([each]) => each.toLowerCase() !== name);
  return { ...request, headers: value === undefined ? others : [...others, [name, value]] };
}

export function headerOf(request: WireRequest, name: string): string {
  return request.headers.find(([each]) => each.toLowerCase() === name)?.[1] ?? "";
}

/** Percent-encodes as S3's clients do. */
export function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function signer({ user = ALICE, region = "us-east-1", service = "s3" }: Signing): SignatureV4 {
  return new SignatureV4({
    credentials: { accessKeyId: user.accessKey, secretAccessKey: user.secretKey },
    region,
    service,
    sha256: NodeSha256,
    uriEscapePath: false,
    applyChecksum: true,
  });
}

function httpRequest({ method = "GET", path = "/bucket/key", query = {}, headers = {} }: Plain) {
  return {
    method,
    protocol: "https:",
    hostname: "s3.example.com",
    path,
    query: { ...query },
    headers: { host: "s3.example.com", ...headers },
  };
}

function wire(request: {
  method: string;
  path: string;
  headers: Record<string, string>;
  query?: Record<string, string | string[] | null>;
}): WireRequest {
  const pairs = Object.entries(request.query ?? {}).map(
    ([name, value]) => `${encoded(name)}=${encoded(String(value ?? ""))}`,
  );
  return {
    method: request.method,
    rawPath: request.path,
    rawQuery: pairs.join("&"),
    // Node's client writes headers as Latin-1, so what is beyond goes out as its UTF-8.
    headers: Object.entries(request.headers).map(([name, value]) => [
      name,
      Buffer.from(value, "utf8").toString("latin1"),
    ]),
  };
}

class NodeSha256 {
  readonly #hash: { update(data: Uint8Array): unknown; digest(): Buffer };

  constructor(secret?: unknown) {
    this.#hash =
      secret === undefined ? createHash("sha256") : createHmac("sha256", secret as string);
  }

  update(data: Uint8Array | string): void {
    this.#hash.update(typeof data === "string" ? Buffer.from(data, "utf8") : data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    throw new Error("Cannot reset: a digest is used once");
  }
}
