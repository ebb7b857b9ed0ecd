/** Whether this index is the one that knows these disks' shards: asked before anything is taken away (R11). */
import { GARBAGE_QUESTION_KEY } from "#keeper/garbage-question.ts";
import { encodeTerm, TERM_KEY, TERM_MET_KEY, termOf } from "#keeper/term-record.ts";
import { asBuffer } from "#metadata/keys.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { decodeMap, MAP_KEY } from "#placement/placement-record.ts";

/** Its presence disarms garbage collection; the value is the reason, for the operator. */
export const DISARMED_KEY = Buffer.from("keeper/disarmed");

/** To be called when the index was restored from a copy: shards newer than the copy are then named by nothing. */
export async function disarmGarbage(
  metadata: MetadataStore,
  reason: string,
  signal?: AbortSignal,
): Promise<void> {
  const put = [{ key: DISARMED_KEY, value: Buffer.from(reason) }];
  await metadata.commit({ expect: [], put, remove: [] }, signal);
}

/** The operator's word that what nothing names may go. A question from before is not answered by it: the next sweep looks anew. */
export async function armGarbage(metadata: MetadataStore, signal?: AbortSignal): Promise<void> {
  const remove = [DISARMED_KEY, GARBAGE_QUESTION_KEY, TERM_MET_KEY];
  for (;;) {
    const [term, met] = await metadata.getMany([TERM_KEY, TERM_MET_KEY], signal);
    const current = termOf(term);
    const known = termOf(met);
    const expect = [
      { key: TERM_KEY, revision: current.revision },
      { key: TERM_MET_KEY, revision: known.revision },
    ];
    // Later than what the disks know: they obey this index again.
    const next = known.term > current.term ? known.term + 1 : current.term;
    const put = met ? [{ key: TERM_KEY, value: encodeTerm(next) }] : [];
    const outcome = await metadata.commit({ expect, put, remove }, signal);
    if (outcome.kind === "committed") return;
  }
}

/** Why garbage collection must not act; undefined when it may. */
export async function disarmedBecause(
  metadata: MetadataStore,
  clusterId: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const [map, disarmed] = await metadata.getMany([MAP_KEY, DISARMED_KEY], signal);
  if (!map) return "the index has no placement map: it is not the one that these disks belong to";
  const found = decodeMap(map.value).clusterId;
  if (found !== clusterId) return `the index is of cluster ${found}, the disks are of ${clusterId}`;
  return disarmed && asBuffer(disarmed.value).toString();
}
