/** Disks that were away when shards of theirs were removed: garbage collection looks through all they hold once they are back. */
import { afterPrefix, asBuffer, type KeyRange } from "#metadata/keys.ts";
import type { Put } from "#metadata/metadata-store.ts";
import { RecordWriter } from "#metadata/record-wire.ts";

const PREFIX = Buffer.from("keeper/missed/");
const VALUE: Uint8Array = new RecordWriter().start().finish();

export const MISSED: KeyRange = { from: PREFIX, to: afterPrefix(PREFIX) };

/** Put blindly: whoever clears it compares the revision it saw before looking. */
export function missedPut(diskId: string): Put {
  return { key: Buffer.concat([PREFIX, Buffer.from(diskId)]), value: VALUE };
}

export function missedDisk(key: Uint8Array): string {
  return asBuffer(key).toString("latin1", PREFIX.length);
}
