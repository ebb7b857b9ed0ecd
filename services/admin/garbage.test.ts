import { describe, expect, test } from "vitest";
import { AdminBench, CLUSTER, TOKEN } from "#admin/testing/admin-bench.ts";
import {
  decodeGarbageQuestion,
  encodeGarbageQuestion,
  GARBAGE_QUESTION_KEY,
} from "#keeper/garbage-question.ts";
import { disarmedBecause } from "#keeper/identity.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";

const { signal } = new AbortController();

describe("anybucket garbage", () => {
  test("disarm stops it with the operator's reason until arm lets it go on", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    expect((await bench.garbage("status")).out).toBe("armed: what nothing names is removed\n");
    const reason = "etcd was restored from Monday's copy";
    expect((await bench.garbage("disarm", "--reason", reason)).out).toBe(`disarmed: ${reason}\n`);
    expect(await disarmedBecause(bench.metadata, CLUSTER, signal)).toBe(reason);
    expect(bench.changes).toBe(0);
    expect((await bench.garbage("arm")).out).toMatch(/^armed/);
    expect(await disarmedBecause(bench.metadata, CLUSTER, signal)).toBeUndefined();
    // The keeper of this process looks at once.
    expect(bench.changes).toBe(1);
    expect((await bench.garbage("disarm")).out).toBe("disarmed: an operator said so\n");
  });

  test("status says what is asked, and confirm answers it in the index", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    await ask(bench.metadata);
    const { out } = await bench.garbage("status");
    expect(out).toMatch(/^asking since 1970-01-01T00:00:05\.000Z: Garbage collection asks: x\n/);
    expect(out).toContain("It would remove 70 of 100 writes (210 shards), such as\n");
    expect(out).toContain('  "b/some\\nkey"\n');
    expect((await bench.garbage("confirm")).out).toBe(
      "confirmed: the next sweep removes 70 of 100 writes (210 shards)\n",
    );
    const found = await bench.metadata.get(GARBAGE_QUESTION_KEY);
    expect(decodeGarbageQuestion(found?.value ?? Buffer.of()).isConfirmed).toBe(true);
    expect(bench.changes).toBe(1);
  });

  test("nothing is confirmed that is not asked, or while it is disarmed", async () => {
    await using bench = await AdminBench.open({ nodes: 3 });
    expect(await bench.garbage("confirm")).toEqual({
      exitCode: 1,
      out: "",
      err: "anybucket: Cannot confirm: nothing is asked\n",
    });
    await ask(bench.metadata);
    await bench.garbage("disarm", "--reason", "looking");
    expect((await bench.garbage("confirm")).err).toBe(
      "anybucket: Cannot confirm: disarmed: looking\n",
    );
    const found = await bench.metadata.get(GARBAGE_QUESTION_KEY);
    expect(decodeGarbageQuestion(found?.value ?? Buffer.of()).isConfirmed).toBe(false);
  });

  test.each<[path: string, body: string | undefined, token: string, status: number]>([
    ["garbage", undefined, "x", 401],
    ["garbage/disarm", "{}", "x", 401],
    ["garbage/arm", undefined, TOKEN, 405],
    ["garbage", "{}", TOKEN, 405],
    ["garbage/burn", "{}", TOKEN, 404],
    ["garbage/disarm", '{"reason":7}', TOKEN, 400],
    ["garbage/disarm", '{"reason":"two\\nlines"}', TOKEN, 400],
    ["garbage/disarm", `{"reason":"${"x".repeat(501)}"}`, TOKEN, 400],
    ["garbage/disarm", '{"why":"x"}', TOKEN, 400],
    ["garbage/confirm", "{}", TOKEN, 409],
  ])("%s with %s changes nothing", async (path, body, token, status) => {
    await using bench = await AdminBench.open({ nodes: 3 });
    const answer = await bench.fetch(`/api/v1/${path}`, {
      headers: { authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { method: "POST", body }),
    });
    expect(answer.status).toBe(status);
    expect(await answer.json()).toEqual({ error: expect.any(String) as string });
    expect(await disarmedBecause(bench.metadata, CLUSTER, signal)).toBeUndefined();
  });
});

async function ask(metadata: MetadataStore): Promise<void> {
  const value = encodeGarbageQuestion({
    text: "Garbage collection asks: x",
    askedMs: 5000,
    doomed: 70,
    shards: 210,
    writes: 100,
    examples: ["b/some\nkey"],
    isConfirmed: false,
  });
  await metadata.commit({ expect: [], put: [{ key: GARBAGE_QUESTION_KEY, value }], remove: [] });
}
