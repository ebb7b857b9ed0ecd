/** deploy/compose.yaml as its first lines say to use it. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { clientOf, type Keys } from "../local/process.ts";
import { freePort } from "../s3/server.ts";
import { isThere } from "../support/docker.ts";

const run = promisify(execFile);
const FILE = resolve(import.meta.dirname, "../../deploy/compose.yaml");
const SERVICES = ["etcd", "gateway1", "gateway2", "keeper", "storage1", "storage2", "storage3"];
/** Etcd, three nodes and two gateways start one after another, each healthy at its next check. */
const READY_MS = 240_000;

const images = inject("images");
const project = `anybucket-${randomBytes(4).toString("hex")}`;
let ports: readonly [first: number, second: number, admin: number];
let keys: Keys;

/** Compose's newer spelling, or Debian's. */
async function compose(...args: readonly string[]): Promise<string> {
  const isPlugin = await isThere("compose", "version");
  const [program, ...first] = isPlugin ? ["docker", "compose"] : ["docker-compose"];
  const [one, two, admin] = ports;
  const { stdout } = await run(program ?? "", [...first, "-f", FILE, "-p", project, ...args], {
    env: {
      ...process.env,
      ANYBUCKET_IMAGE: images?.anybucket,
      ETCD_IMAGE: images?.etcd,
      ANYBUCKET_PORT: String(one),
      ANYBUCKET_PORT_2: String(two),
      ANYBUCKET_ADMIN_PORT: String(admin),
    },
    maxBuffer: 2 ** 26,
  });
  return stdout;
}

async function untilReady(): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (;;) {
    const healthy: string[] = [];
    for (const service of SERVICES) {
      const id = (await compose("ps", "-q", service)).trim();
      const format = "--format={{.State.Health.Status}}";
      if (id !== "" && (await run("docker", ["inspect", format, id])).stdout === "healthy\n") {
        healthy.push(service);
      }
    }
    if (healthy.length === SERVICES.length) return;
    if (performance.now() > deadline) {
      const missing = SERVICES.filter((service) => !healthy.includes(service));
      throw new Error(`Not healthy: ${missing.join(", ")}\n${await compose("logs", "--tail=20")}`);
    }
    await sleep(1000);
  }
}

describe.skipIf(images === null)("the cluster of compose.yaml", () => {
  beforeAll(async () => {
    ports = [await freePort(), await freePort(), await freePort()];
    await compose("up", "-d");
    await untilReady();
  });
  afterAll(async () => {
    await compose("down", "--volumes", "--timeout", "5");
  });

  test("shows keys that it made itself", async () => {
    const [, accessKeyId = "", secretAccessKey = ""] =
      /^export AWS_ACCESS_KEY_ID=([0-9a-f]{20}) AWS_SECRET_ACCESS_KEY=([0-9a-f]{40}) /.exec(
        await compose("run", "--rm", "-T", "show-keys"),
      ) ?? [];
    keys = { accessKeyId, secretAccessKey };
    expect(secretAccessKey).not.toBe("");
    expect(await compose("logs")).not.toContain(secretAccessKey);
  });

  test("one gateway reads what another wrote", async () => {
    const [one, two] = ports
      .slice(0, 2)
      .map((port) => clientOf({ endpoint: `http://127.0.0.1:${port}` }, keys));
    const Bucket = "in-compose";
    await one?.send(new CreateBucketCommand({ Bucket }));
    const Body = randomBytes(6_000_000);
    await one?.send(new PutObjectCommand({ Bucket, Key: "object", Body }));
    const read = await two?.send(new GetObjectCommand({ Bucket, Key: "object" }));
    expect(Body.equals((await read?.Body?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(true);
  });

  test("its nodes stand in zones of their own", async () => {
    const list = JSON.parse(
      await compose("exec", "-T", "keeper", "anybucket", "node", "list", "--json"),
    ) as { nodes: { zone: string; state: string }[] };
    expect(list.nodes.map(({ zone }) => zone).toSorted()).toEqual(["a", "b", "c"]);
  });

  test("keeps its keys and objects when it is taken down and put up again", async () => {
    await compose("down", "--timeout", "40");
    await compose("up", "-d");
    await untilReady();
    const client = clientOf({ endpoint: `http://127.0.0.1:${ports[0]}` }, keys);
    const read = await client.send(new GetObjectCommand({ Bucket: "in-compose", Key: "object" }));
    expect((await read.Body?.transformToByteArray())?.length).toBe(6_000_000);
  });
});
