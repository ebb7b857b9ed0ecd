/** The image of deploy/Dockerfile as an operator runs it. */
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { describe, expect, inject, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { clientOf } from "../local/process.ts";
import { docker } from "../support/docker.ts";
import { Container, HARDENED } from "./container.ts";

const images = inject("images");
const anybucket = images?.anybucket ?? "";
const PORTS = ["--publish=127.0.0.1::9000", "--publish=127.0.0.1::9001"];

async function keysOf(
  container: Container,
): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  const { accessKey, secretKey } = JSON.parse(
    await container.exec("cat", "/data/credentials.json"),
  ) as { accessKey: string; secretKey: string };
  return { accessKeyId: accessKey, secretAccessKey: secretKey };
}

describe.skipIf(images === null)("the image", () => {
  test("with no setting is a whole store, which keeps its objects, and stops when asked", async () => {
    await using container = await Container.run(...HARDENED, ...PORTS, anybucket);
    await container.untilHealthy();
    const keys = await keysOf(container);
    const client = async () => clientOf({ endpoint: await container.endpoint(9000) }, keys);
    const Bucket = "in-a-container";
    await (await client()).send(new CreateBucketCommand({ Bucket }));
    const Body = Buffer.alloc(3_000_000, "kept over a restart ");
    await (await client()).send(new PutObjectCommand({ Bucket, Key: "object", Body }));

    expect(await container.stop()).toBe(0);
    await container.start();
    const read = await (await client()).send(new GetObjectCommand({ Bucket, Key: "object" }));
    expect(Body.equals((await read.Body?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(true);
    expect(await container.logs()).not.toContain(keys.secretAccessKey);
  });

  test.each([
    ["its own user", [], "1000 1000"],
    ["any user of group 0", ["--user=4711:0"], "4711 0"],
  ])("runs as %s", async (_, flags, expected) => {
    await using container = await Container.run(...HARDENED, ...flags, anybucket);
    await container.untilHealthy();
    expect(`${await container.exec("id", "-u")} ${await container.exec("id", "-g")}`).toBe(
      expected,
    );
  });

  test("takes MinIO's command line", async () => {
    const command = ["server", "/data", "--console-address", ":9001"];
    await using container = await Container.run(...HARDENED, anybucket, ...command);
    await container.untilHealthy();
    expect(await container.exec("anybucket", "health")).toContain("processes ready");
  });

  test("is not healthy when its process is not ready", async () => {
    // It waits for etcd, and says so.
    const settings = {
      ETCD: "127.0.0.1:1",
      ACCESS_KEY: "in-a-container",
      SECRET_KEY: "not-a-secret",
    };
    const env = Object.entries(settings).map(([name, value]) => `--env=ANYBUCKET_${name}=${value}`);
    await using container = await Container.run(...HARDENED, ...env, anybucket, "gateway");
    await expect.poll(() => container.exec("anybucket", "health", "live"), POLL).toBe("alive");
    await expect(container.exec("anybucket", "health")).rejects.toThrow("0 of 1 processes ready");
    expect(await container.stop()).toBe(0);
  });

  test("holds what runs and no more", async () => {
    expect(await docker("run", "--rm", anybucket, "--version")).toBe(packageJson.version);
    const dev = Object.keys(packageJson.devDependencies).map(
      (name) => `/anybucket/node_modules/${name}`,
    );
    const listed = await docker(
      "run",
      "--rm",
      "--entrypoint=find",
      anybucket,
      "/anybucket/node_modules",
      "-maxdepth",
      "2",
    );
    expect(listed.split("\n").filter((path) => dev.includes(path))).toEqual([]);
  });
});

const POLL = { timeout: 60_000, interval: 250 };
