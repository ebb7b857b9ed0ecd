/** Whether a bucket keeps versions: GetBucketVersioning, PutBucketVersioning. */
import { changeBucket } from "#gateway/buckets.ts";
import type { Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { loadedBucket } from "#gateway/object-read.ts";
import { document, type Element, field, readDocument } from "#gateway/xml.ts";
import type { Versioning } from "#objects/model.ts";

export async function getBucketVersioning(request: S3Request): Promise<S3Response> {
  const status = STATUS[loadedBucket(request).versioning];
  return { status: 200, body: document("VersioningConfiguration", field("Status", status)) };
}

export async function putBucketVersioning(request: S3Request, parts: Parts): Promise<S3Response> {
  const bytes = await request.body.document(CONFIGURATION_BYTES_MAX);
  const configuration = readDocument(bytes, "VersioningConfiguration").only("Status", "MfaDelete");
  refuseMfaDelete(configuration);
  const versioning = wantedVersioning(configuration);
  await changeBucket(request, parts, () => ({ versioning }));
  return { status: 200 };
}

const STATUS = { unversioned: undefined, enabled: "Enabled", suspended: "Suspended" } as const;
const CONFIGURATION_BYTES_MAX = 16 * 1024;

/** Once on, versioning can be suspended but never taken away. */
function wantedVersioning(configuration: Element): Versioning {
  const status = configuration.child("Status")?.text;
  switch (status) {
    case "Enabled":
      return "enabled";
    case "Suspended":
      return "suspended";
    case undefined:
      throw new S3Error("IllegalVersioningConfigurationException");
    default:
      throw new S3Error("MalformedXML");
  }
}

function refuseMfaDelete(configuration: Element): void {
  const mfaDelete = configuration.child("MfaDelete")?.text;
  if (mfaDelete === undefined || mfaDelete === "Disabled") return;
  if (mfaDelete !== "Enabled") throw new S3Error("MalformedXML");
  throw new S3Error("NotImplemented", { message: "MFA delete is not implemented" });
}
