/** How full a member of etcd is, in its own words: its answer to Maintenance.Status. */
import { Reader } from "#metadata/etcd-wire.ts";

export interface MemberSize {
  readonly member: string;
  /** Of pages that hold something: keys, and what was before them until it is compacted. */
  readonly usedBytes: number;
  /** Of all pages, also of those that wait to be used again: what etcd's quota is for. Only a defragmentation makes it less. */
  readonly allocatedBytes: number;
  /** Told from etcd 3.6 on. */
  readonly quotaBytes: number | undefined;
  /** It, or another member, has raised the alarm, which stays until somebody takes it back. */
  readonly isFull: boolean;
}

export const STATUS_PATH = "/etcdserverpb.Maintenance/Status";

export function decodeStatus(member: string, bytes: Buffer): MemberSize {
  const reader = new Reader(bytes, { from: 0, to: bytes.length });
  let allocatedBytes = 0;
  let usedBytes = 0;
  let quotaBytes: number | undefined;
  let isFull = false;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 3) allocatedBytes = reader.uint();
    else if (field === 9) usedBytes = reader.uint();
    else if (field === 12) quotaBytes = reader.uint();
    else if (field === 8) {
      const { from, to } = reader.span();
      if (bytes.toString("utf8", from, to).includes("NOSPACE")) isFull = true;
    } else reader.skip();
  }
  // A negative one is none, which reads as a number beyond all others.
  if (!Number.isSafeInteger(quotaBytes)) quotaBytes = undefined;
  return { member, usedBytes, allocatedBytes, quotaBytes, isFull };
}
