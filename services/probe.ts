/**
 * `anybucket probe URL`: a client's whole story against a running store, in a bucket of its own that is gone afterwards: an
 * object is put, read, removed. What `helm test` runs, and whoever wants to know whether a store works from where he is.
 */
import { hash } from "node:crypto";
import { ALGORITHM, canonicalRequest, stringToSign } from "#gateway/auth/canonical-request.ts";
import { deriveSigningKey } from "#gateway/auth/signing-key.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import { type Random, systemRandom } from "#lib/random.ts";
import { readSettings } from "#settings.ts";

const REGION = "us-east-1";
const SIGNED_HEADERS = "host;x-amz-content-sha256;x-amz-date";
/** Over the limit up to which an object is kept as copies, and with more than one block. */
const OBJECT_BYTES = 5 * 1024 ** 2 + 7;
const ANSWER_MS = 60_000;

export interface ProbeParts {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly say: (line: string) => void;
  readonly clock?: Clock;
  readonly random?: Random;
}

interface Keys {
  readonly accessKey: string;
  readonly secretKey: string;
}

/** Answers the exit code. */
export async function runProbe(parts: ProbeParts): Promise<0 | 1 | 2> {
  const { argv, environment, say, random = systemRandom } = parts;
  const [url, ...rest] = argv;
  if (url === undefined || !URL.canParse(url) || rest.length > 0) {
    say("anybucket: give probe the store's address, such as http://127.0.0.1:9000");
    return 2;
  }
  const { settings } = readSettings({ environment, flags: {} });
  const { accessKey, secretKey, region = REGION } = settings;
  if (accessKey === undefined || secretKey === undefined) {
    say("anybucket: set ANYBUCKET_ACCESS_KEY and ANYBUCKET_SECRET_KEY, or their _FILE, for probe");
    return 2;
  }
  const store = new Store({
    origin: new URL(url).origin,
    region,
    keys: { accessKey, secretKey },
    parts,
  });
  const bucket = `/anybucket-probe-${Buffer.from(random.bytes(8)).toString("hex")}`;
  try {
    await story(store, bucket, { body: Buffer.from(random.bytes(OBJECT_BYTES)), say });
    return 0;
  } catch (error) {
    const { message, cause } = error as Error;
    say(`anybucket: ${message}${cause instanceof Error ? `: ${cause.message}` : ""}`);
    return 1;
  } finally {
    // What the story left when it broke off; it has removed both when it did not.
    await store.ask("DELETE", `${bucket}/object`).catch(() => undefined);
    await store.ask("DELETE", bucket).catch(() => undefined);
  }
}

async function story(
  store: Store,
  bucket: string,
  { body, say }: { body: Buffer; say: (line: string) => void },
): Promise<void> {
  const object = `${bucket}/object`;
  await store.expect(200, "PUT", bucket);
  say(`bucket ${bucket.slice(1)} made`);
  await store.expect(200, "PUT", object, body);
  say(`object of ${body.length} bytes put`);
  const read = await store.expect(200, "GET", object);
  if (!body.equals(read)) throw new Error(`Cannot trust ${object}: it was read with other bytes`);
  say("object read, with the same bytes");
  await store.expect(204, "DELETE", object);
  await store.expect(404, "GET", object);
  say("object removed, and gone");
  await store.expect(204, "DELETE", bucket);
  say("bucket removed");
}

class Store {
  readonly #origin: string;
  readonly #region: string;
  readonly #keys: Keys;
  readonly #clock: Clock;

  constructor({
    origin,
    region,
    keys,
    parts: { clock = systemClock },
  }: {
    origin: string;
    region: string;
    keys: Keys;
    parts: ProbeParts;
  }) {
    this.#origin = origin;
    this.#region = region;
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Throws when the answer is another. */
  async expect(status: number, method: string, path: string, body?: Buffer): Promise<Buffer> {
    const answer = await this.ask(method, path, body);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status === status) return bytes;
    const code = /<Code>([^<]*)/.exec(bytes.toString("utf8", 0, 4096))?.[1] ?? "";
    throw new Error(
      `Cannot ${method} ${this.#origin}${path}: ${`${answer.status} ${code}`.trim()} instead of ${status}`,
    );
  }

  async ask(method: string, path: string, body: Buffer = Buffer.alloc(0)): Promise<Response> {
    const { host } = new URL(this.#origin);
    const timestamp = new Date(this.#clock.now()).toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const payload = hash("sha256", body);
    const text = canonicalRequest({
      method,
      path,
      query: "",
      headers: `host:${host}\nx-amz-content-sha256:${payload}\nx-amz-date:${timestamp}\n`,
      signedHeaders: SIGNED_HEADERS,
      payload,
    });
    const scope = { date: timestamp.slice(0, 8), region: this.#region, service: "s3" };
    const named = `${scope.date}/${scope.region}/s3/aws4_request`;
    const signature = deriveSigningKey(this.#keys.secretKey, scope)
      .sign(stringToSign({ timestamp, scope: named }, text))
      .toString("hex");
    return fetch(`${this.#origin}${path}`, {
      method,
      headers: {
        "x-amz-content-sha256": payload,
        "x-amz-date": timestamp,
        authorization: `${ALGORITHM} Credential=${this.#keys.accessKey}/${named}, SignedHeaders=${SIGNED_HEADERS}, Signature=${signature}`,
      },
      ...(body.length === 0 ? {} : { body: Uint8Array.from(body) }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  }
}
