import { afterAll, beforeAll, expect, test } from "vitest";
import { Renewable } from "#lib/renewable.ts";
import type { NodeConnection } from "#shards/client.ts";
import type { ClusterTls } from "#shards/cluster-tls.ts";
import { MemoryShardStore } from "#shards/memory-shard-store.ts";
import { sample } from "#shards/shard-store.contract.ts";
import { ShardStoreUnavailable } from "#shards/shard-store.ts";
import { Authority, CERTIFIED } from "#shards/testing/certificates.ts";
import { connectTo, IDENTITY, serveStore } from "#shards/testing/far-node.ts";

const { signal } = new AbortController();
const STORAGE = [`URI:anybucket://${CERTIFIED}/storage/${IDENTITY.nodeId}`];
const GATEWAY = [`URI:anybucket://${CERTIFIED}/gateway/g`];

/** Authorities before and after; certificates by each, with what trusts one or both. */
let authorities: Authority[];
let bundle: Buffer;
let oldStorage: ClusterTls;
let newStorage: ClusterTls;
let oldGateway: ClusterTls;
let newGateway: ClusterTls;

beforeAll(async () => {
  authorities = [await Authority.make(), await Authority.make()];
  const [before, after] = authorities as [Authority, Authority];
  oldStorage = await before.issue(STORAGE);
  oldGateway = await before.issue(GATEWAY);
  newStorage = await after.issue(STORAGE);
  newGateway = await after.issue(GATEWAY);
  bundle = Buffer.concat([oldStorage.ca, newStorage.ca]);
});
afterAll(async () => {
  for (const authority of authorities) await authority[Symbol.asyncDispose]();
});

const trustingBoth = (tls: ClusterTls): ClusterTls => ({ ...tls, ca: bundle });

test("a server whose certificate is renewed, by another authority, shows it to new callers and goes on with those that it has", async () => {
  const tls = new Renewable(trustingBoth(oldStorage));
  await using server = await serveStore(new MemoryShardStore({ diskId: "disk" }), {
    serverTls: tls,
  });
  await using early = connectTo(server.port, { tls: trustingBoth(oldGateway) });
  await ask(early);
  const { state } = early;

  tls.renew(trustingBoth(newStorage));
  await using late = connectTo(server.port, { tls: newGateway });
  await ask(late);
  // It trusts the earlier authority alone, so it cannot have been shown the earlier certificate.
  await using stale = connectTo(server.port, { tls: oldGateway });
  await expect(ask(stale)).rejects.toThrow(ShardStoreUnavailable);
  await ask(early);
  expect(early.state).toBe(state);
  expect(server.load.streams).toBe(2);
});

test("a server that no longer trusts an authority takes no new caller of it", async () => {
  const tls = new Renewable(trustingBoth(newStorage));
  await using server = await serveStore(new MemoryShardStore({ diskId: "disk" }), {
    serverTls: tls,
  });
  await using early = connectTo(server.port, { tls: trustingBoth(oldGateway) });
  await ask(early);
  tls.renew(newStorage);
  await using late = connectTo(server.port, { tls: trustingBoth(oldGateway) });
  await expect(ask(late)).rejects.toThrow(ShardStoreUnavailable);
  await expect(late.control.status(signal)).rejects.toThrow("does not answer");
  await ask(early);
});

test("a caller whose certificate is renewed keeps its connection, and shows the new one when it connects again", async () => {
  const tls = new Renewable(oldGateway);
  const first = await serveStore(new MemoryShardStore({ diskId: "disk" }), {
    serverTls: trustingBoth(oldStorage),
  });
  const { port } = first;
  await using node = connectTo(port, { tls });
  await ask(node);
  await node.control.status(signal);
  const { state } = node;

  tls.renew(newGateway);
  await ask(node);
  expect(node.state).toBe(state);

  await first[Symbol.asyncDispose]();
  // Knows nothing of the authority before.
  await using second = await serveStore(new MemoryShardStore({ diskId: "disk" }), {
    serverTls: newStorage,
    port,
  });
  await expect
    .poll(() => ask(node).then(() => "answered", String), { timeout: 10_000 })
    .toBe("answered");
  const status = () => node.control.status(signal).then(({ nodeId }) => nodeId, String);
  await expect.poll(status, { timeout: 10_000 }).toBe(IDENTITY.nodeId);
  expect(second.load.streams).toBe(1);
});

/** Whether it is there: not so. */
async function ask(node: NodeConnection): Promise<void> {
  const store = node.store("disk");
  expect(await store.stat(sample([]).id, signal)).toBeUndefined();
}
