/**
 * Which commits may travel in one etcd transaction. etcd evaluates the conditions of all of them before it applies any, gives
 * all one revision and refuses the whole when a key is put twice; so no commit of a batch may write a key that another
 * one reads, compares or writes. Then every order of them is a serial one. README.md has the argument.
 */

import type { LaneItem } from "#metadata/etcd-lane.ts";
import type { LeasedCommit } from "#metadata/etcd-wire.ts";
import { asBuffer } from "#metadata/keys.ts";
import type { CommitOutcome } from "#metadata/metadata-store.ts";

export interface PendingCommit extends LaneItem, LeasedCommit {
  readonly resolve: (outcome: CommitOutcome) => void;
}

/** etcd's default is 128 operations a level; larger batches cost as much a commit. */
export const BATCH_COMMITS_MAX = 64;
/** etcd's default is 1.5 MiB a request, with its own framing. */
const BATCH_BYTES_MAX = 1_400_000;
/** How many of those that wait are looked at for one batch: contended keys must not make each batch a walk over all. */
const LOOKED_AT_MAX = 4 * BATCH_COMMITS_MAX;

export function takeBatch(queue: readonly PendingCommit[]) {
  const batch: PendingCommit[] = [];
  const rest: PendingCommit[] = [];
  const read = new Set<string>();
  const written = new Set<string>();
  let bytes = 0;
  for (const [place, item] of queue.entries()) {
    if (batch.length === BATCH_COMMITS_MAX || place === LOOKED_AT_MAX) {
      return { batch, rest: [...rest, ...queue.slice(place)] };
    }
    const keys = keysOf(item);
    const fits =
      batch.length === 0 ||
      (bytes + item.bytes <= BATCH_BYTES_MAX &&
        !keys.written.some((key) => written.has(key) || read.has(key)) &&
        !keys.read.some((key) => written.has(key)));
    if (!fits) {
      rest.push(item);
      continue;
    }
    batch.push(item);
    bytes += item.bytes;
    for (const key of keys.read) read.add(key);
    for (const key of keys.written) written.add(key);
  }
  return { batch, rest };
}

function keysOf({ commit }: LeasedCommit): { read: string[]; written: string[] } {
  return {
    read: commit.expect.map(({ key }) => nameOf(key)),
    written: [...commit.put.map(({ key }) => nameOf(key)), ...commit.remove.map(nameOf)],
  };
}

function nameOf(key: Uint8Array): string {
  return asBuffer(key).toString("latin1");
}
