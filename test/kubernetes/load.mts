/**
 * Clients of a store, as a pod beside it. `load`: workers, each with keys of its own, put, read, overwrite and remove objects
 * until SIGTERM; then all that was acknowledged is read once more. `check`: all that the store lists is read. A line of JSON a
 * second says what happened, the last one how it ended.
 *
 * It runs in our image from a ConfigMap, so it is one file, and uses nothing but Node's own. What an object must hold follows
 * from its key and its generation, which is in its metadata: whoever reads it can tell whether it is right.
 */
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, type IncomingHttpHeaders, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const WORKERS = 4;
const KEYS_MAX = 200;
const PAUSE_MS = 50;
/** As the AWS SDKs' standard mode has it: an ordinary client tries three times, with pauses of up to 100 and 200 ms. */
const ATTEMPTS = 3;
const BACKOFF_MS = 100;
/** SDKs wait without an end; longer than this is none to any client. */
const ATTEMPT_MS = 90_000;
/** Lines about single failures; the counts go on. */
const TOLD_MAX = 200;
const SIZES = [700, 4096, 4096, 4096, 4096, 60_000, 300_000, 1_200_000];
const BUCKET = "/load";

interface Counts {
  reads: number;
  writes: number;
  /** Attempts that brought no right answer, whether or not the next one did. */
  failedAttempts: number;
  failedReads: number;
  failedWrites: number;
  /** Of this line's second. */
  slowestMs: number;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** `generation` 0: it was removed. */
interface Kept {
  readonly generation: number;
  /** An attempt to write it had no answer, and may still come into force: it is not written again. */
  readonly isLast: boolean;
}

const [mode = "load", endpoint = ""] = process.argv.slice(2);
const origin = new URL(endpoint);
const accessKey = readFileSync("/run/keys/access-key", "utf8");
const secretKey = readFileSync("/run/keys/secret-key", "utf8");
const agent = new Agent({ keepAlive: true });
const counts: Counts = {
  reads: 0,
  writes: 0,
  failedAttempts: 0,
  failedReads: 0,
  failedWrites: 0,
  slowestMs: 0,
};
const faults: string[] = [];
const stop = new AbortController();
let told = 0;

process.on("SIGTERM", () => stop.abort());
const telling = setInterval(() => {
  say({ counts });
  counts.slowestMs = 0;
}, 1000);
const kept = mode === "check" ? await check() : await load();
clearInterval(telling);
say({ counts });
say({ finished: { kept, faults, counts } });
process.exit(faults.length === 0 ? 0 : 1);

async function load(): Promise<number> {
  await send("PUT", BUCKET);
  const all = await Promise.all(Array.from({ length: WORKERS }, (_, at) => work(`worker${at}`)));
  let found = 0;
  for (const keys of all) {
    for (const [key, { generation }] of keys) {
      await read(key, generation);
      if (generation > 0) found += 1;
    }
  }
  return found;
}

/** Answers what its keys hold in the end. */
async function work(name: string): Promise<ReadonlyMap<string, Kept>> {
  const keys = new Map<string, Kept>();
  for (let turn = 1; !stop.signal.aborted; turn++) {
    const known = [...keys];
    const [key, now] = known[Math.floor(Math.random() * known.length)] ?? [];
    const dice = Math.random();
    if (key !== undefined && now !== undefined && (dice < 0.5 || now.isLast)) {
      await read(key, now.generation);
    } else if (key !== undefined && now !== undefined && dice < 0.6) {
      await write(keys, key, 0);
    } else if (key !== undefined && (dice < 0.7 || keys.size >= KEYS_MAX)) {
      await write(keys, key, turn);
    } else {
      await write(keys, `${BUCKET}/${name}/${turn}`, turn);
    }
    await sleep(PAUSE_MS, undefined, { signal: stop.signal }).catch(() => undefined);
  }
  return keys;
}

async function write(keys: Map<string, Kept>, key: string, generation: number): Promise<void> {
  const before = counts.failedAttempts;
  const isDone = await tried(key, async () => {
    const { status } =
      generation === 0
        ? await send("DELETE", key)
        : await send("PUT", key, { generation, body: bodyOf(key, generation) });
    if (status !== 200 && status !== 204) throw new Error(`answer ${status}`);
  });
  counts.writes += 1;
  if (isDone) {
    keys.set(key, { generation, isLast: counts.failedAttempts > before });
  } else {
    // Nobody knows what it holds: it is out of the game.
    keys.delete(key);
    counts.failedWrites += 1;
  }
}

async function read(key: string, generation: number): Promise<void> {
  const isDone = await tried(key, async () => {
    const { status, body } = await send("GET", key);
    if (status === 404 && generation === 0) return;
    if (status !== 200 && status !== 404) throw new Error(`answer ${status}`);
    // No client tries these again.
    if (status === 404) fault(`${key}: gone`);
    else if (generation === 0) fault(`${key}: back from the dead`);
    else if (!body.equals(bodyOf(key, generation))) fault(`${key}: other bytes`);
  });
  counts.reads += 1;
  if (isDone) return;
  counts.failedReads += 1;
  fault(`${key}: not read in ${ATTEMPTS} attempts`);
}

/** All that there is, by what each object says of itself. */
async function check(): Promise<number> {
  let found = 0;
  for (let token = ""; ; ) {
    const page = await send("GET", BUCKET, { query: { "continuation-token": token } });
    const text = page.body.toString();
    for (const [, key = ""] of text.matchAll(/<Key>([^<]*)<\/Key>/g)) {
      const path = `${BUCKET}/${key}`;
      const { status, headers, body } = await send("GET", path);
      const generation = Number(headers["x-amz-meta-generation"]);
      if (status !== 200) fault(`${path}: answer ${status}`);
      else if (!body.equals(bodyOf(path, generation))) fault(`${path}: other bytes`);
      counts.reads += 1;
      found += 1;
    }
    const next = /<NextContinuationToken>([^<]*)</.exec(text)?.[1];
    if (page.status !== 200) fault(`list: answer ${page.status}`);
    if (next === undefined) return found;
    token = next;
  }
}

/** As an ordinary client does it; false: all attempts failed. */
async function tried(what: string, attempt: () => Promise<void>): Promise<boolean> {
  const began = performance.now();
  try {
    for (let at = 0; at < ATTEMPTS; at++) {
      if (at > 0) await sleep(Math.random() * BACKOFF_MS * 2 ** (at - 1));
      try {
        await attempt();
        return true;
      } catch (error) {
        counts.failedAttempts += 1;
        const { message } = error as Error;
        if (told++ < TOLD_MAX) say({ failed: what, attempt: at + 1, why: message });
      }
    }
    return false;
  } finally {
    counts.slowestMs = Math.max(counts.slowestMs, Math.round(performance.now() - began));
  }
}

function fault(what: string): void {
  if (faults.length < TOLD_MAX) faults.push(what);
}

function bodyOf(key: string, generation: number): Buffer {
  const size = SIZES[generation % SIZES.length] ?? 0;
  return createHash("shake256", { outputLength: size }).update(`${key} ${generation}`).digest();
}

interface Sent {
  readonly generation?: number;
  readonly body?: Buffer;
  readonly query?: Readonly<Record<string, string>>;
}

async function send(
  method: string,
  path: string,
  { generation, body = Buffer.alloc(0), query = {} }: Sent = {},
): Promise<Answer> {
  const search = Object.entries(query)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  if (method === "GET" && path === BUCKET) search.push("list-type=2");
  const unsigned: Record<string, string> = {
    host: origin.host,
    ...(generation === undefined ? {} : { "x-amz-meta-generation": String(generation) }),
  };
  const headers = signed(method, { path, search: search.toSorted().join("&"), body, unsigned });
  const target = search.length > 0 ? `${path}?${search.join("&")}` : path;
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const signal = AbortSignal.timeout(ATTEMPT_MS);
  const { hostname, port } = origin;
  const asking = request({ hostname, port, path: target, method, headers, agent, signal });
  asking.on("error", reject);
  asking.on("response", (answer) => {
    const parts: Buffer[] = [];
    answer.on("data", (part: Buffer) => parts.push(part));
    answer.on("error", reject);
    answer.on("end", () =>
      resolve({
        status: answer.statusCode ?? 0,
        headers: answer.headers,
        body: Buffer.concat(parts),
      }),
    );
  });
  asking.end(body);
  return promise;
}

interface Signable {
  readonly path: string;
  readonly search: string;
  readonly body: Buffer;
  readonly unsigned: Readonly<Record<string, string>>;
}

/** Signature version 4. */
function signed(
  method: string,
  { path, search, body, unsigned }: Signable,
): Record<string, string> {
  const hash = createHash("sha256").update(body).digest("hex");
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const headers: Record<string, string> = {
    ...unsigned,
    "x-amz-content-sha256": hash,
    "x-amz-date": time,
  };
  const names = Object.keys(headers).toSorted();
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join("");
  const canonical = [method, path, search, lines, names.join(";"), hash].join("\n");
  const scope = `${time.slice(0, 8)}/us-east-1/s3/aws4_request`;
  const digest = createHash("sha256").update(canonical).digest("hex");
  let key = Buffer.from(`AWS4${secretKey}`);
  for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
  const signature = createHmac("sha256", key)
    .update(["AWS4-HMAC-SHA256", time, scope, digest].join("\n"))
    .digest("hex");
  headers["authorization"] =
    `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  headers["content-length"] = String(body.length);
  return headers;
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
