/** The address of an object as a client can use it: Location of PostObject and CompleteMultipartUpload. */
import type { S3Request } from "#gateway/context.ts";
import { encodeUrl } from "#gateway/xml.ts";

export function objectLocation(request: S3Request, key: string): string {
  const { origin, isVirtualHost, bucketName } = request;
  // In virtual-host style the bucket is in the host's name already.
  return `${origin}${isVirtualHost ? "" : `/${bucketName}`}/${encodeUrl(key)}`;
}
