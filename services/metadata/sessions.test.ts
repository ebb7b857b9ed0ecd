import { expect, test } from "vitest";
import { MemoryMetadata } from "#metadata/memory.ts";
import { type Commit, IndeterminateCommit } from "#metadata/metadata-store.ts";
import { listSessions, openSession } from "#metadata/sessions.ts";

test("a low-water mark whose commit arrives late does not take the place of a later one", async () => {
  const store = new MemoryMetadata();
  const late: Commit[] = [];
  let isSlow = false;
  const session = await openSession({
    get: (key) => store.get(key),
    commit: (commit) => {
      if (!isSlow) return store.commit(commit);
      late.push(commit);
      return Promise.reject(new IndeterminateCommit("no answer"));
    },
  });
  isSlow = true;
  await expect(session.publishLowWater(65)).rejects.toThrow(IndeterminateCommit);
  isSlow = false;
  await session.publishLowWater(79);
  for (const commit of late) await store.commit(commit);
  expect(await listSessions(store)).toEqual([{ id: session.id, lowWater: 79 }]);
});
