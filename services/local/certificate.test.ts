import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { WatchedPem } from "#local/certificate.ts";
import { expiryOf } from "#local/certificate-expiry.ts";
import type { Certificate } from "#local/pem.ts";
import { Authority } from "#shards/testing/certificates.ts";
import { ManualClock } from "#shards/testing/manual-clock.ts";

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** Between two looks. */
const LOOK_MS = 30_000;
const PATHS = { cert: "/tls/tls.crt", key: "/tls/tls.key" };

let authority: Authority;
let before: Certificate;
let after: Certificate;

beforeAll(async () => {
  authority = await Authority.make();
  before = await issue(100);
  after = await issue(200);
});
afterAll(() => authority[Symbol.asyncDispose]());

async function issue(days: number): Promise<Certificate & { readonly ca: string }> {
  const { ca, certificate, key } = await authority.issue(["DNS:s3.example"], { days });
  return { cert: certificate.toString(), key: key.toString(), ca: ca.toString() };
}

/** Some minutes later than now, as certificates are not valid before they are made. */
const START_MS = Date.now() + HOUR_MS;
const now = () => START_MS + manual.now() - new ManualClock().now();

let files: Record<string, string>;
let manual: ManualClock;
let lines: { readonly level: number; readonly msg: string }[];
let onEvent: () => void;

beforeEach(() => {
  files = { [PATHS.cert]: before.cert, [PATHS.key]: before.key };
  manual = new ManualClock();
  lines = [];
});

function open(read = async (path: string) => found(path)): Promise<WatchedPem<Certificate>> {
  const clock: Clock = {
    now,
    monotonic: () => manual.monotonic(),
    sleep: (ms, signal) => manual.sleep(ms, signal),
  };
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return WatchedPem.open(PATHS, { log, clock, read, watchFolders });
}

function watchFolders(folders: ReadonlySet<string>, listener: () => void): Disposable {
  expect([...folders]).toEqual(["/tls"]);
  onEvent = listener;
  return { [Symbol.dispose]: () => undefined };
}

function found(path: string): string {
  const text = files[path];
  if (text === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
  return text;
}

function write({ cert, key }: Partial<Certificate>): void {
  if (cert !== undefined) files[PATHS.cert] = cert;
  if (key !== undefined) files[PATHS.key] = key;
}

async function pass(ms: number): Promise<void> {
  manual.pass(ms);
  for (let round = 0; round < 10; round++) await setImmediate();
}

/** With the moment in which files that do not fit are looked at again. */
async function look(): Promise<void> {
  await pass(LOOK_MS);
  await pass(200);
}

const said = () => lines.map(({ msg }) => msg);

describe("a renewed certificate", () => {
  test("is taken at the next look, and the log says whose it is and until when", async () => {
    using watched = await open();
    const taken: Certificate[] = [];
    watched.onChange((next) => void taken.push(next));
    await look();
    expect(taken).toEqual([]);
    const { cert, key } = after;
    write({ cert, key });
    await pass(LOOK_MS - 1000);
    expect(watched.current).toEqual({ cert: before.cert, key: before.key });
    await pass(1000);
    expect(watched.current).toEqual({ cert, key });
    await look();
    expect(taken).toEqual([{ cert, key }]);
    expect(lines).toEqual([
      expect.objectContaining({
        msg: "Certificate renewed",
        certificate: PATHS.cert,
        subject: expect.stringMatching(/^CN=c\d+$/),
        issuer: "CN=authority",
        expires: new Date(expiryOf({ cert }).atMs).toISOString(),
      }),
    ]);
  });

  test("is looked for soon after something happened in its folder, and at once when asked", async () => {
    using watched = await open();
    write(after);
    onEvent();
    onEvent();
    await pass(200);
    expect(watched.current.cert).toBe(after.cert);
    write(before);
    await watched.reload();
    expect(watched.current.cert).toBe(before.cert);
  });

  test("whose key is another's is not taken, which is said once, until both fit together", async () => {
    using watched = await open();
    watched.onChange(() => expect.unreachable());
    write({ cert: after.cert });
    for (let round = 0; round < 3; round++) await look();
    expect(watched.current.cert).toBe(before.cert);
    const line =
      "Cannot take the renewed certificate: the key is not the certificate's; the one before stays in use";
    expect(said()).toEqual([line]);
    // Others that do not fit are another fault.
    const third = await issue(300);
    write({ cert: third.cert });
    for (let round = 0; round < 3; round++) await look();
    expect(said()).toEqual([line, line]);
    watched.onChange(() => undefined);
    write({ key: third.key });
    await look();
    expect(watched.current.cert).toBe(third.cert);
    expect(said()).toEqual([line, line, "Certificate renewed"]);
  });

  test("that is half replaced at the first glance is no fault", async () => {
    using watched = await open();
    write({ cert: after.cert });
    await pass(LOOK_MS);
    write({ key: after.key });
    await pass(200);
    expect(watched.current.cert).toBe(after.cert);
    expect(said()).toEqual(["Certificate renewed"]);
  });

  test("that cannot be read, is cut off, or nobody would believe is not taken, and the one before goes on", async () => {
    using watched = await open();
    watched.onChange(
      () => undefined,
      ({ cert }) => {
        if (cert === after.cert) throw new Error("it is for another");
      },
    );
    const expired = await issue(-1);
    const mistakes: readonly (readonly [Record<string, string>, string])[] = [
      [{}, "ENOENT"],
      [{ [PATHS.cert]: after.cert.slice(0, 300), [PATHS.key]: after.key }, "is not whole"],
      // The certificate is whole, what comes behind it is not.
      [
        { [PATHS.cert]: after.cert + before.cert.slice(0, 300), [PATHS.key]: after.key },
        "is not whole",
      ],
      [{ [PATHS.cert]: "", [PATHS.key]: "" }, "there is no certificate"],
      [{ [PATHS.cert]: expired.cert, [PATHS.key]: expired.key }, "it expired at"],
      [{ [PATHS.cert]: after.cert, [PATHS.key]: after.key }, "it is for another"],
    ];
    for (const [wrong, reason] of mistakes) {
      files = wrong;
      lines = [];
      await look();
      expect(said()).toEqual([expect.stringContaining(reason)]);
      expect(watched.current.cert).toBe(before.cert);
    }
  });

  test("is not looked for any more once nobody watches", async () => {
    const watched = await open();
    watched[Symbol.dispose]();
    write(after);
    onEvent();
    await look();
    expect(watched.current.cert).toBe(before.cert);
  });
});

test("a certificate that does not fit its key is a fault at the start", async () => {
  write({ key: after.key });
  await expect(open()).rejects.toThrow(
    "Cannot use certificate /tls/tls.crt with key /tls/tls.key: the key is not the certificate's",
  );
});

describe("a certificate that nears its end", () => {
  test("is warned of 14 days before, as an error 3 days before and when it has expired, and again every day", async () => {
    using watched = await open();
    const toGo = (days: number) => {
      const { atMs } = expiryOf(watched.current);
      return pass(atMs - days * DAY_MS - now());
    };
    await toGo(14.5);
    expect(lines).toEqual([]);
    await toGo(13.9);
    for (let round = 0; round < 3; round++) await look();
    expect(lines).toMatchObject([
      { level: 40, msg: "The certificate expires in 13 days, and has not been renewed" },
    ]);
    await toGo(12.8);
    expect(lines).toHaveLength(2);
    lines = [];
    await toGo(2.9);
    expect(lines).toMatchObject([
      { level: 50, msg: "The certificate expires in 2 days, and has not been renewed" },
    ]);
    await toGo(-0.1);
    expect(lines[1]).toMatchObject({ level: 50, msg: expect.stringContaining("has expired") });
    expect(lines).toHaveLength(2);
    write(after);
    await look();
    expect(said().slice(2)).toEqual(["Certificate renewed"]);
    for (let round = 0; round < 3; round++) await pass(DAY_MS);
    expect(lines).toHaveLength(3);
  });

  test("is warned of later when its whole life is short", async () => {
    const short = await issue(8);
    write(short);
    using watched = await open();
    expect(watched.current.cert).toBe(short.cert);
    await pass(5.9 * DAY_MS);
    expect(lines).toEqual([]);
    await pass(0.2 * DAY_MS);
    expect(lines).toMatchObject([{ level: 40 }]);
  });

  test("has its authority's end, if that comes first, and of several authorities that of the last", async () => {
    const { cert, ca } = await issue(100);
    expect(expiryOf({ cert })).toMatchObject({ of: "certificate" });
    const first = expiryOf({ cert, ca });
    expect(first.of).toBe("authority");
    expect(first.atMs).toBeLessThan(expiryOf({ cert }).atMs);
    const longer = after.cert;
    expect(expiryOf({ cert, ca: ca + longer })).toEqual(expiryOf({ cert }));
  });
});

test("files behind links, as Kubernetes swaps them, are followed", async () => {
  const folder = await mkdtemp(join(tmpdir(), "anybucket-links-"));
  const publish = async (version: string, { cert, key }: Certificate) => {
    await mkdir(join(folder, version));
    await writeFile(join(folder, version, "tls.crt"), cert);
    await writeFile(join(folder, version, "tls.key"), key);
    await symlink(version, join(folder, "..data_tmp"));
    await rename(join(folder, "..data_tmp"), join(folder, "..data"));
  };
  await publish("..1", before);
  for (const name of ["tls.crt", "tls.key"]) {
    await symlink(join("..data", name), join(folder, name));
  }
  const paths = { cert: join(folder, "tls.crt"), key: join(folder, "tls.key") };
  using watched = await WatchedPem.open(paths, { log: silentLog });
  await publish("..2", after);
  await expect.poll(() => watched.current.cert, { timeout: 10_000 }).toBe(after.cert);
  await rm(folder, { recursive: true });
});
