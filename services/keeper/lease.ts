/**
 * One process at a time does a job: the lease's key names the session of its holder.
 *
 * There is no time in it. A lease lasts as long as its holder's session, whose end is decided elsewhere (the supervisor
 * reaps the process, etcd's lease runs out); then anyone may take it, which rewrites the key. The holder compares
 * key and session in all it commits, so a paused one that comes back changes nothing (R13). What it does to shards
 * is harmless whenever it happens: README.md says why for each job.
 */
import { asBuffer } from "#metadata/keys.ts";
import type { Expectation, MetadataStore, Session } from "#metadata/metadata-store.ts";
import { sessionKey } from "#metadata/sessions.ts";

export interface Lease {
  /** For the commits of the job. */
  readonly fence: readonly Expectation[];
}

/** undefined: a living process has it. Called again by the holder it confirms that the lease still holds. */
export async function acquireLease(
  { metadata, session }: { metadata: MetadataStore; session: Session },
  job: string,
  signal?: AbortSignal,
): Promise<Lease | undefined> {
  const key = Buffer.from(`lease/${job}`);
  const found = await metadata.get(key, signal);
  const holder = found && asBuffer(found.value).toString();
  const own = session.expectation();
  if (found && holder === session.id) {
    const fence = [{ key, revision: found.revision }, own];
    const current = await metadata.get(own.key, signal);
    return current?.revision === own.revision ? { fence } : undefined;
  }
  if (holder !== undefined && (await metadata.get(sessionKey(holder), signal))) return undefined;
  const outcome = await metadata.commit(
    {
      expect: [{ key, revision: found?.revision ?? 0 }, own],
      put: [{ key, value: Buffer.from(session.id) }],
      remove: [],
      isEssential: true,
    },
    signal,
  );
  if (outcome.kind === "conflict") return undefined;
  return { fence: [{ key, revision: outcome.revision }, own] };
}
