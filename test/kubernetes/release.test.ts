/**
 * The chart on a real cluster: installed, tested, pods taken away and all of it renewed under load, rolled back, uninstalled,
 * installed again over what stayed. The steps follow one another: the first that fails ends it (--bail in package.json).
 *
 * A client's read has failed when three attempts, the AWS SDKs' standard, have not brought the right bytes; attempts that failed
 * are counted as well, and printed.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Counts,
  type Finished,
  type Load,
  Release,
  ROLES,
  type Role,
  until,
} from "./release.ts";

/** Of all writes. They may fail where reads may not: a client hears of it. */
const FAILED_WRITES_MAX = 0.01;
/** Fewer reads or writes show nothing. */
const LOAD_MIN = 30;

let release: Release;
let load: Load;
let finished: Finished;
let secrets: Readonly<Record<string, string>>;
const lines: string[] = [];

beforeAll(async () => {
  release = await Release.create();
});

afterAll(async () => {
  process.stdout.write(`\n${lines.join("\n")}\n`);
  await release[Symbol.asyncDispose]();
});

test('is installed where "restricted" is enforced, and speaks TLS between its roles', async () => {
  const notes = await release.install("install");
  expect(notes).not.toContain("WARNING");
  expect(await refusedPods()).toEqual([]);
  for (const role of ["gateway", "storage", "keeper"] as const) {
    for (const { name } of await release.pods(role)) {
      expect(await release.kubectl(["logs", name]), `of ${name}`).not.toContain("in plain text");
    }
  }
  secrets = await secretsOf();
});

test("passes helm test", async () => {
  const said = await release.helm(["test", release.name, "--logs"]);
  expect(said).toMatch(/Phase:\s+Succeeded/);
  expect(said).toContain("object read, with the same bytes");
});

test("takes load", async () => {
  load = await release.start("load");
  const counts = await load.during(async () => load.worked(10));
  expect(judge("no fault", counts)).toEqual([]);
  expect(counts.failedAttempts).toBe(0);
});

test.each<{ role: Role; which: string; victims: () => Promise<readonly string[]> }>([
  { role: "storage", which: "a storage pod", victims: async () => firstOf("storage") },
  { role: "gateway", which: "a gateway pod", victims: async () => firstOf("gateway") },
  // Whichever of them works.
  { role: "keeper", which: "both keeper pods", victims: async () => allOf("keeper") },
  { role: "etcd", which: "etcd's leader", victims: async () => [await release.etcdLeader()] },
])(
  "$which deleted under load loses nothing and fails no read",
  async ({ role, which, victims }) => {
    const counts = await load.during(async () => {
      await release.kubectl(["delete", "pod", ...(await victims()), "--wait=true"]);
      await release.settled(role);
    });
    expect(judge(`${which} deleted`, counts)).toEqual([]);
  },
);

test("an upgrade of all pods under load loses nothing and fails no read, and keeps keys and certificates", async () => {
  const before = await allPods();
  const counts = await load.during(async () => {
    await release.install("upgrade", { next: true });
    for (const role of ROLES) await release.settled(role);
  });
  expect(judge("helm upgrade", counts)).toEqual([]);
  const after = await allPods();
  expect(after.length).toBe(before.length);
  expect(after.filter((uid) => before.includes(uid))).toEqual([]);
  expect(await secretsOf()).toEqual(secrets);
});

test("so does its rollback", async () => {
  const before = await allPods();
  const counts = await load.during(async () => {
    await release.helm(["rollback", release.name, "1", "--wait", "--timeout", "15m"]);
    for (const role of ROLES) await release.settled(role);
  });
  expect(judge("helm rollback", counts)).toEqual([]);
  expect((await allPods()).filter((uid) => before.includes(uid))).toEqual([]);
  expect(await secretsOf()).toEqual(secrets);
});

test("all that was acknowledged is there in the end, with the right bytes", async () => {
  finished = await load.stop();
  lines.push(`in the end: ${finished.kept} objects, ${JSON.stringify(finished.counts)}`);
  lines.push(...(await load.failures()));
  expect(finished.faults).toEqual([]);
  expect(finished.kept).toBeGreaterThan(100);
  expect(await release.helm(["test", release.name])).toMatch(/Phase:\s+Succeeded/);
});

test("uninstalled, volumes and Secrets stay, and nothing else", async () => {
  await release.helm(["uninstall", release.name, "--wait"]);
  const selector = `app.kubernetes.io/instance=${release.name}`;
  const kinds = "all,ingress,networkpolicy,poddisruptionbudget,serviceaccount,configmap";
  // Helm does not wait for what a Deployment's end takes with it. The pod of `helm test` is none of the release's.
  const gone = `${selector},app.kubernetes.io/component!=test`;
  await until("all else is gone", async () => (await namesOf(kinds, gone)).length === 0);
  expect((await namesOf("persistentvolumeclaim", selector)).length).toBe(6);
  expect(await secretsOf()).toEqual(secrets);
});

test("installed again it is the same store, with the same keys", async () => {
  await release.install("install");
  const found = await (await release.start("check")).finished();
  lines.push(`installed again: ${found.kept} objects`);
  expect(found.faults).toEqual([]);
  expect(found.kept).toBe(finished.kept);
});

/** Notes what the clients met, and answers what they must not have. */
function judge(what: string, counts: Counts): readonly string[] {
  const { reads, writes, failedAttempts, failedReads, failedWrites, slowestMs } = counts;
  const line = `${what.padEnd(24)} ${reads} reads, ${writes} writes; failed: ${failedAttempts} attempts, ${failedReads} reads, ${failedWrites} writes; slowest ${slowestMs} ms`;
  lines.push(line);
  const isRight =
    Math.min(reads, writes) > LOAD_MIN &&
    failedReads === 0 &&
    failedWrites <= writes * FAILED_WRITES_MAX;
  return isRight ? [] : [line];
}

async function firstOf(role: Role): Promise<readonly string[]> {
  return (await allOf(role)).slice(0, 1);
}

async function allOf(role: Role): Promise<readonly string[]> {
  return (await release.pods(role)).map(({ name }) => name);
}

/** Their uids. */
async function allPods(): Promise<readonly string[]> {
  const pods = await Promise.all(ROLES.map((role) => release.pods(role)));
  return pods.flat().map(({ uid }) => uid);
}

/** What a controller wanted to make and was not let. */
async function refusedPods(): Promise<readonly string[]> {
  const events = ["get", "events", "--field-selector=reason=FailedCreate", "--output=name"];
  return (await release.kubectl(events)).split("\n").filter((line) => line !== "");
}

async function namesOf(kinds: string, selector: string): Promise<readonly string[]> {
  const found = await release.list<{ kind: string; metadata: { name: string } }>(kinds, selector);
  return found.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
}

/** Of those that the chart makes: what each holds. */
async function secretsOf(): Promise<Readonly<Record<string, string>>> {
  const found = await release.list<{ metadata: { name: string }; data: object }>(
    "secrets",
    `app.kubernetes.io/instance=${release.name}`,
  );
  expect(found.length).toBe(6);
  return Object.fromEntries(
    found.map(({ metadata, data }) => [metadata.name, JSON.stringify(data)]),
  );
}
