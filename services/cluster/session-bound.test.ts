import { expect, test } from "vitest";
import { SessionBound } from "#cluster/session-bound.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { SeededRandom } from "#lib/random.ts";
import { Unavailable } from "#lib/unavailable.ts";
import { MemoryMetadata } from "#metadata/memory.ts";
import { MetadataFull, type MetadataStore, type Session } from "#metadata/metadata-store.ts";
import { endSession, listSessions } from "#metadata/sessions.ts";
import { createObjectLayer } from "#objects/layer.ts";
import { MemoryDataPlane, TestBody } from "#objects/testing/memory-data-plane.ts";
import { ATTRIBUTES, SkippingClock } from "#objects/testing/open-layer.ts";

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

test("a session with which nothing could be opened is ended", async () => {
  const metadata = new MemoryMetadata();
  const sessions: Session[] = [];
  const opened = Promise.withResolvers<void>();
  const bound = await SessionBound.open({
    metadata,
    open: (session) => {
      sessions.push(session);
      if (sessions.length === 2) throw new Error("no memory");
      if (sessions.length === 3) opened.resolve();
      return { [Symbol.asyncDispose]: async () => undefined };
    },
    clock: new SkippingClock(),
    log: silentLog,
  });
  await endSession(metadata, sessions[0]?.id ?? "");
  await expect(sessions[0]?.renew()).rejects.toThrow(/gone/);
  await opened.promise;
  await new Promise(setImmediate);
  expect((await listSessions(metadata)).map(({ id }) => id)).toEqual([sessions[2]?.id]);
  await bound[Symbol.asyncDispose]();
});

test("what cannot do without a session waits for its process to be started again while the index is full", async () => {
  const metadata = new MemoryMetadata({ fault: () => "full" });
  const opening = SessionBound.open({
    metadata,
    open: () => ({ [Symbol.asyncDispose]: async () => undefined }),
    clock: systemClock,
    log: silentLog,
  });
  await expect(opening).rejects.toThrow(MetadataFull);
});

test("a gateway that starts while the index is full reads and removes, and writes once there is room (R20)", async () => {
  const metadata = new MemoryMetadata();
  const random = new SeededRandom(1);
  const clock = new SkippingClock();
  const { signal } = new AbortController();
  let stored: MemoryDataPlane["stored"] | undefined;
  const layerOf = (session: Session, store: MetadataStore) => {
    const data = new MemoryDataPlane({ session, random, ...(stored && { stored }) });
    stored = data.stored;
    return {
      session,
      objects: createObjectLayer({ store, data, session, clock, random, lifetime: signal }),
      [Symbol.asyncDispose]: async () => undefined,
    };
  };
  const { objects } = layerOf(await metadata.session(), metadata);
  const { bucket } = await objects.buckets.create({
    name: "bucket",
    ownerId: "me",
    region: "",
    ownership: "BucketOwnerEnforced",
    acl: "private",
    signal,
  });
  const request = (key: string) => ({ bucket, key, versionId: undefined, ownerId: "me", signal });
  const put = (key: string, layer = objects) =>
    layer.put({ ...request(key), body: new TestBody("text"), attributes: ATTRIBUTES });
  await put("kept");
  await put("removed");
  const anchorKey = Buffer.from("anchor");
  await metadata.commit({ expect: [], put: [{ key: anchorKey, value: anchorKey }], remove: [] });
  const anchor = await metadata.get(anchorKey);
  if (anchor === undefined) throw new Error("It is not there");

  metadata.fault = () => "full";
  const changes: boolean[] = [];
  await using bound = await SessionBound.open({
    metadata,
    open: layerOf,
    clock,
    log: silentLog,
    whenFull: { anchor, onChange: (isFull) => changes.push(isFull) },
  });
  const without = bound.current;
  expect(await without.objects.find(request("kept"))).toMatchObject({ size: 4 });
  expect(await without.objects.remove(request("removed"))).toMatchObject({ kind: "removed" });
  expect(await without.objects.find(request("removed"))).toBeUndefined();
  await expect(put("new", without.objects)).rejects.toThrow(Unavailable);
  expect(changes).toEqual([true]);

  metadata.fault = undefined;
  await expect.poll(() => changes).toEqual([true, false]);
  // Its bytes carry no session: there is room by now, and it must not be committed all the same.
  await expect(put("late", without.objects)).rejects.toThrow(Unavailable);
  expect(await put("new", bound.current.objects)).toMatchObject({ kind: "stored" });
  expect(await bound.current.objects.find(request("late"))).toBeUndefined();
});

test("a removal without an answer, made without a session, is not told as made, nor made again", async () => {
  const metadata = new MemoryMetadata();
  const random = new SeededRandom(1);
  const clock = new SkippingClock();
  const ending = new AbortController();
  const open = (session: Session, store: MetadataStore) => {
    const data = new MemoryDataPlane({ session, random });
    const parts = { store, data, session, clock, random, lifetime: ending.signal };
    return { objects: createObjectLayer(parts), [Symbol.asyncDispose]: async () => undefined };
  };
  const { objects } = open(await metadata.session(), metadata);
  const { signal } = ending;
  const made = { ownerId: "me", region: "", ownership: "ObjectWriter", acl: "private" } as const;
  const { bucket } = await objects.buckets.create({ name: "bucket", ...made, signal });
  const request = { bucket, key: "k", versionId: undefined, ownerId: "me", signal };
  await objects.put({ ...request, body: new TestBody("text"), attributes: ATTRIBUTES });
  const anchorKey = Buffer.from("anchor");
  await metadata.commit({ expect: [], put: [{ key: anchorKey, value: anchorKey }], remove: [] });
  const anchor = await metadata.get(anchorKey);
  if (anchor === undefined) throw new Error("It is not there");
  let removals = 0;
  metadata.fault = ({ put: puts }) => {
    if (puts.length > 0) return "full";
    removals += 1;
    return "lost";
  };
  await using bound = await SessionBound.open({
    metadata,
    open,
    clock,
    log: silentLog,
    whenFull: { anchor, onChange: () => undefined },
  });
  await expect(bound.current.objects.remove(request)).rejects.toThrow(Unavailable);
  expect(removals).toBe(1);
  ending.abort();
});
