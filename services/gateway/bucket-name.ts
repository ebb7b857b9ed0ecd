/** What may be a bucket's name; pure. */

/**
 * AWS's rules for a new general purpose bucket.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
 */
export function isBucketName(name: string): boolean {
  return (
    NEW_NAME.test(name) &&
    !name.includes("..") &&
    !ADDRESS.test(name) &&
    !RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix)) &&
    !RESERVED_SUFFIXES.some((suffix) => name.endsWith(suffix))
  );
}

/** Whether a bucket could ever have had this name, by the rules of us-east-1 before 2018: if not, it is not even looked for. */
export function mayNameBucket(name: string): boolean {
  return EVER_NAME.test(name);
}

const NEW_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const EVER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;
const ADDRESS = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;
const RESERVED_PREFIXES = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
