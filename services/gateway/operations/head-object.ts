/** HeadObject: the head of what GetObject would answer. */
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { planRead } from "#gateway/object-read.ts";

export async function headObject(request: S3Request, parts: Parts): Promise<S3Response> {
  const { status, headers, start, end } = await planRead(request, parts);
  return { status, headers, length: end - start };
}
