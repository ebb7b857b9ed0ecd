/** Requests put together by hand: signed by an independent signer, sent byte for byte as written. */
import { createHash, createHmac, type Hash, type Hmac, randomUUID } from "node:crypto";
import { type ClientRequest, type IncomingHttpHeaders, request as send } from "node:http";
import {
  CreateBucketCommand,
  type CreateBucketCommandInput,
  CreateMultipartUploadCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { SignatureV4 } from "@smithy/signature-v4";
import type { TestServer } from "./server.ts";

export interface RawRequest {
  readonly method: string;
  /** As it goes onto the wire: percent-encoded already, without query. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
  /** `<Code>` of an error document. */
  readonly code: string | undefined;
}

/** Signed by header with the server's own user. */
export async function sendSigned(server: TestServer, request: RawRequest): Promise<RawAnswer> {
  return sendRaw(server, await sign(server, request));
}

/** Ready to be sent, or to be tampered with first. */
export async function sign(
  server: TestServer,
  request: RawRequest,
  options: { signingDate?: Date } = {},
): Promise<RawRequest> {
  const { method, path, query = {}, headers = {}, body = "" } = request;
  const host = `127.0.0.1:${server.port}`;
  const sha256 = createHash("sha256").update(body).digest("hex");
  const signed = await signerOf(server).sign(
    {
      method,
      protocol: "http:",
      hostname: "127.0.0.1",
      port: server.port,
      path,
      query,
      headers: { "x-amz-content-sha256": sha256, ...headers, host },
    },
    options,
  );
  return { method, path, query, headers: signed.headers, body };
}

/** The same request as a URL that anybody may use for a while. */
export async function presign(
  server: TestServer,
  request: RawRequest,
  options: { expiresIn?: number; signingDate?: Date } = {},
): Promise<RawRequest> {
  const { method, path, query = {}, headers = {} } = request;
  const signed = await signerOf(server).presign(
    {
      method,
      protocol: "http:",
      hostname: "127.0.0.1",
      port: server.port,
      path,
      query,
      headers: {
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        ...headers,
        host: `127.0.0.1:${server.port}`,
      },
    },
    { expiresIn: 60, ...options },
  );
  return { ...request, query: signed.query as Record<string, string> };
}

/** As it stands: nothing is signed, normalised or added but Content-Length. */
export function sendRaw(server: TestServer, request: RawRequest): Promise<RawAnswer> {
  const { outgoing, answered } = openRaw(server, request);
  outgoing.end(request.body);
  return answered;
}

/** A request whose body is still to be written. */
export function openRaw(
  server: TestServer,
  request: RawRequest,
): { outgoing: ClientRequest; answered: Promise<RawAnswer> } {
  const { method, path, query = {}, headers = {} } = request;
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer>();
  const address = { host: "127.0.0.1", port: server.port, agent: false };
  const outgoing = send(
    { ...address, method, path: path + queryString(query), headers },
    (answer) => {
      const pieces: Buffer[] = [];
      answer.on("data", (piece: Buffer) => pieces.push(piece));
      answer.on("error", reject);
      answer.on("end", () => {
        const bytes = Buffer.concat(pieces);
        const text = bytes.toString("utf8");
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          body: bytes,
          text,
          code: elementOf(text, "Code"),
        });
      });
    },
  );
  outgoing.on("error", reject);
  return { outgoing, answered: promise };
}

/** The text of the first element of that name. */
export function elementOf(document: string, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(document)?.[1];
}

/** `404 NoSuchKey` of a command that fails; throws when it does not. */
export async function refusalOf(answer: Promise<unknown>): Promise<string> {
  try {
    await answer;
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
    if ($metadata?.httpStatusCode !== undefined) return `${$metadata.httpStatusCode} ${name}`;
    throw error;
  }
  throw new Error("It was not refused");
}

export async function freshBucket(
  client: S3Client,
  options: Omit<CreateBucketCommandInput, "Bucket"> = {},
): Promise<string> {
  const Bucket = `test-${randomUUID()}`;
  await client.send(new CreateBucketCommand({ Bucket, ...options }));
  return Bucket;
}

/** One that keeps versions, with an object `kept` in it and an upload of `parts` begun: where a bad request would show. */
export async function furnishedBucket(
  client: S3Client,
): Promise<{ Bucket: string; UploadId: string }> {
  const Bucket = await freshBucket(client);
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
  await client.send(new PutObjectCommand({ Bucket, Key: "kept", Body: "kept" }));
  const { UploadId = "" } = await client.send(
    new CreateMultipartUploadCommand({ Bucket, Key: "parts" }),
  );
  return { Bucket, UploadId };
}

function signerOf({ accessKey, secretKey }: TestServer): SignatureV4 {
  return new SignatureV4({
    service: "s3",
    region: "us-east-1",
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    sha256: Sha256,
    uriEscapePath: false,
  });
}

/** node:crypto in the shape that the signer asks for. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash =
      secret === undefined ? createHash("sha256") : createHmac("sha256", secret as Uint8Array);
  }

  update(data: string | Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    throw new Error("Cannot reset: a hash is used once");
  }
}

function queryString(query: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(query).map(([name, value]) => `${escape(name)}=${escape(value)}`);
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

/** All but the unreserved characters, as signatures want it. */
function escape(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
