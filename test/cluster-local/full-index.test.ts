/** A gateway that is started while etcd has no space: what is stored can be read, and removed to make room (R20). */
import { DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { Etcd3 } from "etcd3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually, RunningCluster } from "./running-cluster.ts";

let cluster: RunningCluster;

beforeAll(async () => {
  cluster = await RunningCluster.start({ nodes: 1, gateways: 1 });
});
afterAll(async () => cluster[Symbol.asyncDispose]());

/** Raises etcd's alarm, as it does by itself when its quota is used up, or takes it back. */
async function alarm(action: "Activate" | "Deactivate"): Promise<void> {
  const [etcd] = cluster.processes.of("etcd");
  const client = new Etcd3({ hosts: `http://127.0.0.1:${etcd?.port}` });
  const { header } = await client.maintenance.status();
  await client.maintenance.alarm({ action, memberID: header.member_id, alarm: "Nospace" });
  client.close();
}

async function readiness(): Promise<{ status: number; text: string }> {
  const { adminPort } = cluster.processes.member("gateway1");
  const answer = await fetch(`http://127.0.0.1:${adminPort}/readyz`);
  return { status: answer.status, text: await answer.text() };
}

test("it is ready, reads and deletes, refuses writes, and takes them once there is room", async () => {
  for (const key of ["kept", "removed"]) await cluster.put("gateway1", key, 1000);
  await alarm("Activate");
  await cluster.processes.kill("gateway1");
  await cluster.processes.start("gateway1");
  expect(await readiness()).toMatchObject({
    status: 200,
    text: expect.stringContaining("the index is full"),
  });
  expect(await cluster.unreadable("gateway1")).toEqual([]);
  const client = cluster.client("gateway1");
  const { bucket: Bucket } = cluster;
  await client.send(new DeleteObjectCommand({ Bucket, Key: "removed" }));
  cluster.stored.delete("removed");
  expect(await cluster.list("gateway1")).toEqual(["kept"]);
  const refused = client.send(new PutObjectCommand({ Bucket, Key: "new", Body: "text" }));
  await expect(refused).rejects.toMatchObject({ $metadata: { httpStatusCode: 503 } });

  await alarm("Deactivate");
  await eventually("writes are taken", async () => {
    try {
      await cluster.put("gateway1", "new", 1000);
      return true;
    } catch {
      return false;
    }
  });
  expect((await readiness()).text).not.toContain("full");
  expect(await cluster.unreadable("gateway1")).toEqual([]);
});
