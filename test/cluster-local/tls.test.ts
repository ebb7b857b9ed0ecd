import { mkdtemp, rm, writeFile } from "node:fs/promises";
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
let cluster: RunningCluster;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "anybucket-certificates-"));
  await using authority = await Authority.make();
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
  cluster = await RunningCluster.start({ nodes: 3, gateways: 1, envOf: certificateOf });
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
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

function certificateOf(member: string): Readonly<Record<string, string>> {
  return {
    ANYBUCKET_CLUSTER_CA_FILE: join(folder, "ca.pem"),
    ANYBUCKET_CLUSTER_CERT_FILE: join(folder, `${member}.pem`),
    ANYBUCKET_CLUSTER_KEY_FILE: join(folder, `${member}.key`),
  };
}
