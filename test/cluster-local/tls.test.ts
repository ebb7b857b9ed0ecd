import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Authority } from "../../services/shards/testing/certificates.ts";
import { launch } from "../local/process.ts";
import { RunningCluster } from "./running-cluster.ts";

const MEMBERS = {
  node1: "storage",
  node2: "storage",
  node3: "storage",
  keeper1: "keeper",
  gateway1: "gateway",
} as const;

const BY_HOST_NAME: readonly string[] = ["node1", "node2", "gateway1"];

let folder: string;
let authority: Authority;
let cluster: RunningCluster;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "anybucket-certificates-"));
  authority = await Authority.make();
  await writeCertificates();
  cluster = await RunningCluster.start({ nodes: 3, gateways: 1, envOf: certificateOf });
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await authority[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test("a cluster with certificates takes and gives objects, and nothing of it goes in plain text", async () => {
  for (const size of [100, 300_000, 3_000_000]) await cluster.put("gateway1", `k${size}`, size);
  expect(await cluster.unreadable("gateway1")).toEqual([]);
  for (const { output } of cluster.processes.members.values()) {
    expect(output).not.toMatch(/in plain text/);
  }
  expect((await cluster.node("list")).out.match(/ active +yes /g)?.length).toBe(3);
});

test("a storage node does not start with another's certificate", async () => {
  await cluster.processes.end("node3");
  const launched = launch({
    args: ["storage", join(cluster.folder, "node3", "disk1")],
    env: { ...cluster.processes.environment("node3"), ...certificateOf("node2") },
  });
  expect(await launched.exited).toBe(78);
  expect(launched.stderr()).toBe(
    "anybucket: Cannot serve shards as node node3 of cluster anybucket: the certificate is for anybucket/storage/node2\n",
  );
  await cluster.processes.start("node3");
});

test("renewed certificates are taken while all goes on, and a storage node takes no other's", async () => {
  await writeCertificates();
  // Whoever is told looks at once, and goes on.
  cluster.processes.signal("keeper1", "SIGHUP");
  for (const name of Object.keys(MEMBERS)) {
    const member = cluster.processes.member(name);
    const isTaken = () => member.output.includes("Certificate renewed");
    await expect.poll(isTaken, { timeout: 60_000, message: name }).toBe(true);
  }
  await cluster.put("gateway1", "after", 300_000);
  expect(await cluster.unreadable("gateway1")).toEqual([]);

  for (const kind of ["key", "pem"]) {
    await copyFile(join(folder, `node1.${kind}`), join(folder, `node2.${kind}`));
  }
  const node2 = () => cluster.processes.member("node2").output;
  await expect
    .poll(node2, { timeout: 60_000 })
    .toContain(
      "Cannot take the renewed certificate: Cannot serve shards as node node2 of cluster anybucket",
    );
  expect(await cluster.unreadable("gateway1")).toEqual([]);
});

async function writeCertificates(): Promise<void> {
  for (const [name, role] of Object.entries(MEMBERS)) {
    // Both forms of names, each understood by processes that have the other.
    const tls = await authority.issue([
      BY_HOST_NAME.includes(name)
        ? `DNS:${name}.${role}.anybucket.anybucket.internal`
        : `URI:anybucket://anybucket/${role}/${name}`,
    ]);
    await writeFile(join(folder, "ca.pem"), tls.ca);
    await writeFile(join(folder, `${name}.pem`), tls.certificate);
    await writeFile(join(folder, `${name}.key`), tls.key);
  }
}

function certificateOf(member: string): Readonly<Record<string, string>> {
  return {
    ANYBUCKET_CLUSTER_CA_FILE: join(folder, "ca.pem"),
    ANYBUCKET_CLUSTER_CERT_FILE: join(folder, `${member}.pem`),
    ANYBUCKET_CLUSTER_KEY_FILE: join(folder, `${member}.key`),
  };
}
