/** A running server and its operator: health, metrics and log, signals, reloads, a process that is killed. */
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import { Agent } from "node:https";
import { connect as connectPlainly } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type TLSSocket } from "node:tls";
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeCertificate } from "../s3/server.ts";
import { clientOf, type Keys, logLines, type Running, scratch, start, until } from "./process.ts";

const ALICE = { accessKeyId: "alice-the-first", secretAccessKey: "alice-has-a-secret" };
const BOB = { accessKeyId: "bob-the-second", secretAccessKey: "bob-has-a-secret" };
const CAROL = { accessKeyId: "carol-the-third", secretAccessKey: "carol-has-a-secret" };
/** As Prometheus reads it: a comment, or a name with labels, and a number. */
const METRICS_LINE =
  /^(?:# (?:HELP|TYPE) .+|[a-zA-Z_:][\w:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*\})? (?:[-+]?\d\S*|NaN|[-+]Inf))$/;

let folder: Awaited<ReturnType<typeof scratch>>;
let running: Running;
let usersFile: string;

beforeAll(async () => {
  folder = await scratch();
  usersFile = join(folder.path, "users.json");
  await writeUsers([["bob", BOB]]);
  const { cert, key } = makeCertificate(folder.path);
  running = await start({
    args: [join(folder.path, "data")],
    env: {
      AWS_ACCESS_KEY_ID: ALICE.accessKeyId,
      AWS_SECRET_ACCESS_KEY: ALICE.secretAccessKey,
      ANYBUCKET_USERS_FILE: usersFile,
      ANYBUCKET_BUCKETS: "alices",
      ANYBUCKET_TLS_CERT_FILE: cert,
      ANYBUCKET_TLS_KEY_FILE: key,
    },
  });
});

afterAll(async () => {
  await running.kill();
  await folder[Symbol.asyncDispose]();
});

async function writeUsers(users: readonly (readonly [name: string, keys: Keys])[]): Promise<void> {
  const entries = users.map(([name, { accessKeyId: accessKey, secretAccessKey: secretKey }]) => ({
    name,
    accessKey,
    secretKey,
  }));
  await writeFile(usersFile, JSON.stringify(entries));
}

/** A connection for each request, so that requests reach both processes. */
function client(keys: Keys): S3Client {
  const agent = new Agent({ rejectUnauthorized: false, keepAlive: false });
  return clientOf(running, keys, { httpsAgent: agent });
}

async function buckets(keys: Keys): Promise<readonly (string | undefined)[]> {
  const { Buckets = [] } = await client(keys).send(new ListBucketsCommand());
  return Buckets.map(({ Name }) => Name);
}

/** Worker processes, as the kernel knows them. */
async function workerIds(): Promise<readonly number[]> {
  const { pid = 0 } = running.process;
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.trim().split(" ").map(Number);
}

async function areAllReady(): Promise<boolean> {
  return (await admin("/readyz")).body === "2 of 2 processes ready\n";
}

async function admin(path: string): Promise<{ status: number; body: string }> {
  const answer = await fetch(running.admin + path);
  return { status: answer.status, body: await answer.text() };
}

describe("for monitoring", () => {
  test("/livez and /readyz answer, the latter with how many processes serve", async () => {
    expect(await admin("/livez")).toEqual({ status: 200, body: "alive\n" });
    expect(await admin("/readyz")).toEqual({ status: 200, body: "2 of 2 processes ready\n" });
    expect((await admin("/nothing")).status).toBe(404);
  });

  test("/metrics is Prometheus text, and counts the requests of all processes", async () => {
    const before = await headBucketCount();
    for (let index = 0; index < 20; index++) {
      await client(ALICE).send(new HeadBucketCommand({ Bucket: "alices" }));
    }
    // An answer is counted when its last byte has gone, which may be after the client has it.
    await until(running, async () => (await headBucketCount()) === before + 20, "20 are counted");
    const { body } = await admin("/metrics");
    const lines = body.trimEnd().split("\n");
    expect(lines.filter((line) => line !== "" && !METRICS_LINE.test(line))).toEqual([]);
    expect(body).toMatch(/^anybucket_disk_bytes\{.*kind="free"\} [1-9]/m);
  });

  test("every request has a line in the log, with the id that its client got", async () => {
    const ids: (string | undefined)[] = [];
    for (let index = 0; index < 6; index++) {
      const { $metadata } = await client(ALICE).send(new HeadBucketCommand({ Bucket: "alices" }));
      ids.push($metadata.requestId);
    }
    const lines = () => logLines(running).filter((line) => ids.includes(String(line["req_id"])));
    await until(running, () => lines().length === ids.length, "all are in the log");
    expect(lines()[0]).toMatchObject({
      msg: "request",
      op: "HeadBucket",
      method: "HEAD",
      bucket: "alices",
      user: "root",
      status: 200,
      remote: "127.0.0.1",
    });
  });
});

async function headBucketCount(): Promise<number> {
  const { body } = await admin("/metrics");
  const line = /^anybucket_s3_requests_total\{operation="HeadBucket",status="200"\} (\d+)$/m.exec(
    body,
  );
  return Number(line?.[1] ?? 0);
}

describe("users", () => {
  test("each owns the buckets it creates, and nobody else may look into them", async () => {
    await client(BOB).send(new CreateBucketCommand({ Bucket: "bobs" }));
    expect(await buckets(BOB)).toEqual(["bobs"]);
    expect(await buckets(ALICE)).toEqual(["alices"]);
    const look = client(BOB).send(new HeadBucketCommand({ Bucket: "alices" }));
    await expect(look).rejects.toMatchObject({ $metadata: { httpStatusCode: 403 } });
  });

  test("SIGHUP reads the file again: one comes, one goes; a file that cannot be read changes nothing", async () => {
    await writeUsers([["carol", CAROL]]);
    running.process.kill("SIGHUP");
    await logged("Users reloaded", 1);
    for (let index = 0; index < 6; index++) {
      expect(await buckets(CAROL)).toEqual([]);
      await expect(buckets(BOB)).rejects.toMatchObject({ name: "InvalidAccessKeyId" });
    }

    await writeFile(usersFile, "[{");
    running.process.kill("SIGHUP");
    await logged("Users not reloaded: the earlier ones stay", 1);
    for (let index = 0; index < 6; index++) expect(await buckets(CAROL)).toEqual([]);

    await writeUsers([
      ["bob", BOB],
      ["carol", CAROL],
    ]);
    running.process.kill("SIGHUP");
    await logged("Users reloaded", 2);
    expect(await buckets(BOB)).toEqual(["bobs"]);
  });
});

async function logged(message: string, times: number): Promise<void> {
  const count = () => logLines(running).filter(({ msg }) => msg === message).length;
  await until(running, () => count() >= times, `"${message}" is logged`);
}

describe("TLS", () => {
  test("a replaced certificate is taken up while running, a broken one is not", async () => {
    const first = await certificate();
    using early = await connected();
    makeCertificate(folder.path);
    await until(running, async () => (await certificate()) !== first, "the new one is shown");
    const second = await certificate();
    // By every process, and after a broken one too.
    for (let index = 0; index < 8; index++) expect(await certificate()).toBe(second);
    const { body } = await admin("/metrics");
    const [, expires] = EXPIRES.exec(body) ?? [];
    expect(Number(expires) * 1000).toBeGreaterThan(Date.now());
    // What was connected before is not cut off.
    expect(early.getPeerCertificate().fingerprint256).toBe(first);
    early.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    const [answer] = await once(early, "data");
    expect(String(answer)).toMatch(/^HTTP\/1\.1 \d/);

    await writeFile(join(folder.path, "cert.pem"), "-----BEGIN CERTIFICATE-----\nbroken\n");
    await logged(NOT_TAKEN, 1);
    await sleep(300);
    for (let index = 0; index < 8; index++) expect(await certificate()).toBe(second);
    expect(await buckets(ALICE)).toEqual(["alices"]);
  });
});

const EXPIRES = /^anybucket_certificate_expires_timestamp_seconds\{certificate="s3"\} (\d+)$/m;
const NOT_TAKEN =
  "Cannot take the renewed certificate: a certificate in the file is not whole; the one before stays in use";

/** Fingerprint of what a new connection is shown. */
async function certificate(): Promise<string> {
  using socket = await connected();
  return socket.getPeerCertificate().fingerprint256;
}

async function connected(): Promise<TLSSocket & Disposable> {
  const to = { port: running.port, host: "127.0.0.1", rejectUnauthorized: false };
  const socket = connect(to);
  await once(socket, "secureConnect");
  return Object.assign(socket, { [Symbol.dispose]: () => void socket.destroy() });
}

test("a gateway process that is killed is started again, and needs none of the operator's files for it", async () => {
  // Its certificate and its users' file are both broken by now, or gone.
  await writeFile(usersFile, "");
  const [victim = 0, other = 0] = await workerIds();
  process.kill(victim, "SIGKILL");
  await until(running, async () => !(await workerIds()).includes(victim), "it is gone");
  // The other one serves meanwhile.
  expect(await buckets(ALICE)).toEqual(["alices"]);
  await logged("A gateway process has ended: starting another", 1);
  await until(running, areAllReady, "both serve");
  const workers = await workerIds();
  expect(workers).toHaveLength(2);
  expect(workers).toContain(other);
  for (let index = 0; index < 6; index++) expect(await buckets(CAROL)).toEqual([]);
});

test("a connection that a dying process never took is closed, so that its client tries again", async () => {
  const [victim = 0] = await workerIds();
  process.kill(victim, "SIGSTOP");
  const outcomes: string[] = [];
  const ask = async () => {
    outcomes.push(
      await certificate().then(
        () => "served",
        () => "closed",
      ),
    );
  };
  // The stopped one gets its part of these.
  const asking = Array.from({ length: 20 }, ask);
  await until(running, () => outcomes.length > 0, "the other one serves");
  // And no more, once it is noticed that it takes none.
  await sleep(500);
  for (let index = 0; index < 4; index++) await ask();
  const served = outcomes.length;
  expect(served).toBeLessThan(24);
  process.kill(victim, "SIGKILL");
  await Promise.all(asking);
  const [open, closed] = [served, 24 - served];
  expect(outcomes).toEqual([...Array(open).fill("served"), ...Array(closed).fill("closed")]);
  await until(running, areAllReady, "both serve");
});

test("while no process serves, connections wait for the next one", async () => {
  const message = "A gateway process has ended: starting another";
  const before = logLines(running).filter(({ msg }) => msg === message).length;
  for (const worker of await workerIds()) process.kill(worker, "SIGKILL");
  await logged(message, before + 2);
  expect(await buckets(ALICE)).toEqual(["alices"]);
  await until(running, areAllReady, "both serve");
});

test("few connections all go to one process, as it is by default", async () => {
  const server = await start({
    args: [join(folder.path, "packed")],
    env: { ANYBUCKET_CONNECTION_SPREAD: "packed", ANYBUCKET_BUCKETS: "few", ...given(ALICE) },
  });
  await using end = new AsyncDisposableStack();
  end.defer(() => server.kill());
  const agent = new HttpAgent({ keepAlive: true, maxSockets: 16 });
  end.defer(() => agent.destroy());
  const s3 = clientOf(server, ALICE, { httpAgent: agent });
  const answers = await Promise.all(
    Array.from({ length: 16 }, () => s3.send(new HeadBucketCommand({ Bucket: "few" }))),
  );
  const hosts = new Set(answers.map(({ $metadata }) => $metadata.extendedRequestId));
  expect(hosts.size).toBe(1);
});

test("SIGTERM lets an upload under way finish, takes no new ones, and ends with 0", async () => {
  await using place = await scratch();
  const options = {
    args: [join(place.path, "data")],
    env: { ANYBUCKET_BUCKETS: "drained", ...given(ALICE) },
  };
  const server = await start(options);
  await using end = new AsyncDisposableStack();
  end.defer(() => server.kill());
  const body = Buffer.alloc(600_000, "slowly ");
  const upload = await beginUpload(server, body.length);
  upload.request.write(body.subarray(0, 200_000));
  await sleep(100);

  server.process.kill("SIGTERM");
  await until(
    server,
    async () => (await fetch(`${server.admin}/readyz`)).status === 503,
    "it drains",
  );
  await until(server, () => refuses(server.port), "new connections are refused");
  expect((await fetch(`${server.admin}/livez`)).status).toBe(200);
  upload.request.end(body.subarray(200_000));
  const answer = await upload.answer;
  expect(answer.statusCode).toBe(200);
  expect(answer.headers["connection"]).toBe("close");
  expect(await server.exited).toBe(0);

  const again = await start(options);
  end.defer(() => again.kill());
  const { Body } = await clientOf(again, ALICE).send(
    new GetObjectCommand({ Bucket: "drained", Key: "slow" }),
  );
  expect(Buffer.from((await Body?.transformToByteArray()) ?? []).equals(body)).toBe(true);
  expect(await again.stop()).toBe(0);
});

function given({ accessKeyId, secretAccessKey }: Keys): Record<string, string> {
  return { ANYBUCKET_ACCESS_KEY: accessKeyId, ANYBUCKET_SECRET_KEY: secretAccessKey };
}

/** A PUT whose body the caller sends as slowly as it likes. */
async function beginUpload(
  server: Running,
  length: number,
): Promise<{ request: ClientRequest; answer: Promise<IncomingMessage> }> {
  const command = new PutObjectCommand({ Bucket: "drained", Key: "slow" });
  const url = await getSignedUrl(clientOf(server, ALICE), command);
  const request = httpRequest(url, { method: "PUT", headers: { "content-length": length } });
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    request.once("response", (incoming) => {
      incoming.resume();
      resolve(incoming);
    });
    request.once("error", reject);
  });
  return { request, answer };
}

async function refuses(port: number): Promise<boolean> {
  const socket = connectPlainly(port, "127.0.0.1");
  return new Promise((resolve) => {
    socket.once("connect", () => {
      resolve(false);
      socket.destroy();
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}
