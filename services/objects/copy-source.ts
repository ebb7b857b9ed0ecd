/** Tells a copy's source that was removed meanwhile from one whose bytes are lost. */
import { equalBytes } from "#metadata/record-fields.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import type { Bucket, ObjectVersion } from "#objects/model.ts";
import { storedVersion } from "#objects/objects.ts";
import type { Versions } from "#objects/versions.ts";

/** Bytes that are not there although their version is: that is a fault, and no "not found" (I11). */
export async function orSourceGone<T>(
  versions: Versions,
  source: { bucket: Bucket; version: ObjectVersion; signal: AbortSignal },
  use: () => Promise<T>,
): Promise<T | "source-gone"> {
  try {
    return await use();
  } catch (error) {
    if (!(error instanceof ExtentGone)) throw error;
    const { bucket, signal } = source;
    const { key, versionId, nonce } = storedVersion(source.version);
    const there = await versions.find({ bucket, key, versionId, signal });
    if (there !== undefined && equalBytes(there.nonce, nonce)) throw error;
    return "source-gone";
  }
}
