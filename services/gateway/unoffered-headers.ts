/**
 * Headers of AWS's model whose meaning we do not implement. A request that asks for one is answered 501, by the pipeline and for every
 * operation alike: ignoring an encryption key or a lock would be a lie. test/operations.test.ts holds these lists against AWS's model.
 */
import type { RequestHeaders } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";

/** To be called with what the caller proved to have sent. */
export function refuseUnofferedHeaders(headers: RequestHeaders): void {
  for (const [name, value] of headers.withPrefix("x-amz-")) {
    const harmless = UNOFFERED_HEADERS.get(name);
    if (harmless === undefined || harmless.includes(value.toLowerCase())) continue;
    throw new S3Error("NotImplemented", { elements: { Header: name } });
  }
}

/** By name: the values, in lower case, that ask for nothing. */
export const UNOFFERED_HEADERS: ReadonlyMap<string, readonly string[]> = new Map([
  // Encryption.
  ["x-amz-server-side-encryption", []],
  ["x-amz-server-side-encryption-aws-kms-key-id", []],
  ["x-amz-server-side-encryption-bucket-key-enabled", ["false"]],
  ["x-amz-server-side-encryption-context", []],
  ["x-amz-server-side-encryption-customer-algorithm", []],
  ["x-amz-server-side-encryption-customer-key", []],
  ["x-amz-server-side-encryption-customer-key-md5", []],
  ["x-amz-copy-source-server-side-encryption-customer-algorithm", []],
  ["x-amz-copy-source-server-side-encryption-customer-key", []],
  ["x-amz-copy-source-server-side-encryption-customer-key-md5", []],
  // Object Lock.
  ["x-amz-bucket-object-lock-enabled", ["false"]],
  ["x-amz-object-lock-mode", []],
  ["x-amz-object-lock-retain-until-date", []],
  ["x-amz-object-lock-legal-hold", []],
  ["x-amz-object-lock-event-hold", []],
  ["x-amz-object-lock-event-hold-duration-days", []],
  ["x-amz-object-lock-event-hold-duration-years", []],
  // MFA delete: nobody can have switched it on, and a token that we cannot check must not look checked.
  ["x-amz-mfa", []],
  // Checksums that S3 took up in 2026.
  ["x-amz-checksum-md5", []],
  ["x-amz-checksum-sha512", []],
  ["x-amz-checksum-xxhash3", []],
  ["x-amz-checksum-xxhash64", []],
  ["x-amz-checksum-xxhash128", []],
  // Directory buckets: append, conditional abort; regional bucket namespaces.
  ["x-amz-write-offset-bytes", []],
  ["x-amz-if-match-initiated-time", []],
  ["x-amz-bucket-namespace", ["global"]],
  // Annotations: there are none, so that leaving them out is what a copy does.
  ["x-amz-object-annotation-directive", ["exclude"]],
]);

/** Headers of AWS's model that are taken and change nothing, with the reason why that is true to their meaning. */
export const ACCEPTED_HEADERS: ReadonlyMap<string, string> = new Map([
  ["x-amz-request-payer", "Only asks who pays: no bucket here is a requester-pays bucket"],
  ["x-amz-bypass-governance-retention", "Overrides locks: no object here can have one"],
  [
    "x-amz-optional-object-attributes",
    "Asks for RestoreStatus, which only archived objects have: no object here is archived",
  ],
]);
