import { expect, test } from "vitest";
import { SessionBound } from "#cluster/session-bound.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import type { Session } from "#metadata/metadata-store.ts";
import { endSession, listSessions } from "#metadata/sessions.ts";

test("what hung on a lost session is closed, and opened again with a new one", async () => {
  const metadata = new MemoryMetadata();
  const events: string[] = [];
  const sessions: Session[] = [];
  const bound = await SessionBound.open({
    metadata,
    open: (session) => {
      sessions.push(session);
      const name = `layer ${sessions.length}`;
      events.push(`${name} opened`);
      return {
        name,
        [Symbol.asyncDispose]: async () => {
          events.push(`${name} closed`);
        },
      };
    },
    clock: systemClock,
    log: silentLog,
  });
  expect(bound.current.name).toBe("layer 1");
  const [first] = sessions;
  await endSession(metadata, first?.id ?? "");
  // Any use of it shows that it is gone.
  await expect(first?.renew()).rejects.toThrow(/gone/);
  await new Promise(setImmediate);
  expect(bound.current.name).toBe("layer 2");
  expect(events).toEqual(["layer 1 opened", "layer 2 opened", "layer 1 closed"]);
  expect((await listSessions(metadata)).map(({ id }) => id)).toEqual([sessions[1]?.id]);
  await bound[Symbol.asyncDispose]();
  expect(events.at(-1)).toBe("layer 2 closed");
  expect(await listSessions(metadata)).toEqual([]);
});
