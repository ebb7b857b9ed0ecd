/** What adds to the index is refused while that is short of room, so that what removes can go on (R20). */
import type { Parts } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import type { Bucket } from "#objects/model.ts";

/** How often the room is looked at. */
const RETRY_S = 5;

export function refuseGrowth({ room }: Pick<Parts, "room">): void {
  if (room?.isShort !== true) return;
  throw new S3Error("SlowDown", {
    message:
      "The index is nearly full. Until there is room it takes no more than reads and removals.",
    headers: { "Retry-After": String(RETRY_S) },
  });
}

/** A delete that makes a marker adds a version, and frees nothing. */
export function refuseMarker(
  parts: Pick<Parts, "room">,
  { bucket, versionId }: { bucket: Bucket; versionId: string | undefined },
): void {
  if (versionId === undefined && bucket.versioning !== "unversioned") refuseGrowth(parts);
}
