/** Buckets of a run: made while all is well, and emptied behind it. */
import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Answer, LoadClient } from "../bench/load.ts";
import { listedVersions, textOf } from "./listings.ts";
import type { Stage } from "./workload.ts";

const TRIES = 30;
const AGAIN_MS = 1000;
const REMOVERS = 8;
const VERSIONED = Buffer.from(
  "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
);

export async function makeBuckets(link: LoadClient, { plain, versioned }: Stage): Promise<void> {
  for (const bucket of [plain, versioned]) {
    await untilDone(link, [200, 409], { method: "PUT", path: `/${bucket}` });
  }
  await untilDone(link, [200], {
    method: "PUT",
    path: `/${versioned}`,
    query: "versioning=",
    body: VERSIONED,
    sha256: hash("sha256", VERSIONED),
  });
}

export async function removeBuckets(link: LoadClient, { plain, versioned }: Stage): Promise<void> {
  for (const bucket of [plain, versioned]) {
    const path = `/${bucket}`;
    for (let isTruncated = true; isTruncated; ) {
      const page = await untilDone(link, [200], { method: "GET", path, query: "versions=" });
      const xml = String(page.body);
      isTruncated = textOf(xml, "IsTruncated") === "true";
      const left = [...listedVersions(xml)];
      const remover = async () => {
        for (let next = left.pop(); next !== undefined; next = left.pop()) {
          const query = `versionId=${encodeURIComponent(next.versionId)}`;
          const object = `${path}/${next.key}`;
          await untilDone(link, [204], { method: "DELETE", path: object, query });
        }
      };
      await Promise.all(Array.from({ length: REMOVERS }, remover));
    }
    await removeUploads(link, path);
    await untilDone(link, [204, 404], { method: "DELETE", path });
  }
}

async function removeUploads(link: LoadClient, path: string): Promise<void> {
  const page = await untilDone(link, [200], { method: "GET", path, query: "uploads=" });
  for (const [, upload = ""] of String(page.body).matchAll(/<Upload>(.*?)<\/Upload>/gs)) {
    const query = `uploadId=${encodeURIComponent(textOf(upload, "UploadId"))}`;
    const object = `${path}/${textOf(upload, "Key")}`;
    await untilDone(link, [204, 404], { method: "DELETE", path: object, query });
  }
}

async function untilDone(
  link: LoadClient,
  good: readonly number[],
  request: Parameters<LoadClient["send"]>[0],
): Promise<Answer> {
  let last: unknown;
  for (let turn = 0; turn < TRIES; turn++) {
    if (turn > 0) await sleep(AGAIN_MS);
    try {
      const answer = await link.send({ ...request, keepBody: true });
      if (good.includes(answer.status)) return answer;
      last = new Error(`it was answered ${answer.status} ${String(answer.body).slice(0, 300)}`);
    } catch (error) {
      last = error;
    }
  }
  const { method, path, query = "" } = request;
  throw new Error(`Cannot ${method} ${path}?${query}: ${(last as Error).message}`, { cause: last });
}
