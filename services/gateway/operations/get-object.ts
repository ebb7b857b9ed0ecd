/** GetObject: a version's bytes, or a range or part of them. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { loadedBucket, planRead } from "#gateway/object-read.ts";

export async function getObject(request: S3Request, parts: Parts): Promise<S3Response> {
  const { version, status, headers, start, end } = await planRead(request, parts);
  const length = end - start;
  if (length === 0) return { status, headers, body: [], length };
  const wanted = { bucket: loadedBucket(request), version, start, end, signal: request.signal };
  const pieces = await parts.objects.readSmall(wanted);
  const body = pieces ?? parts.objects.read({ ...wanted, isTransient: true });
  return { status, headers, body, length };
}
