/** A signature's credential, `AKID/20130524/us-east-1/s3/aws4_request`, wherever it is written. */
import { S3Error, type S3ErrorCode } from "#gateway/errors.ts";
import { memoized } from "#lib/memoized.ts";

export interface Scope {
  /** `20130524`. */
  readonly date: string;
  readonly region: string;
  readonly service: string;
  /** `20130524/us-east-1/s3/aws4_request`. */
  readonly text: string;
}

export interface Credential {
  readonly accessKey: string;
  readonly scope: Scope;
}

/** How the place that holds the credential words its faults. */
export interface CredentialFaults {
  readonly code: S3ErrorCode;
  /** Goes before every message. */
  readonly prefix: string;
}

const CREDENTIAL = /^(.*)\/([^/]*)\/([^/]*)\/([^/]*)\/([^/]*)$/s;
const DAY = /^\d{8}$/;

/** A user's is the same all day. */
const splitCredential = memoized((text) => CREDENTIAL.exec(text) ?? [], 256);

/** `region` undefined: any region will do. */
export function parseCredential(
  text: string,
  {
    timestamp,
    region,
    faults,
  }: { timestamp: string; region: string | undefined; faults: CredentialFaults },
): Credential {
  const malformed = (message: string, elements?: Record<string, string>) =>
    new S3Error(faults.code, {
      message: `${faults.prefix}${message}`,
      ...(elements && { elements }),
    });

  const match = splitCredential(text);
  if (match.length === 0) {
    throw malformed(
      'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  const [, accessKey = "", date = "", scopeRegion = "", service = "", terminal = ""] = match;
  if (accessKey === "") {
    throw malformed("a non-empty Access Key (AKID) must be provided in the credential.");
  }
  if (terminal !== "aws4_request") {
    throw malformed(`incorrect terminal "${terminal}". This endpoint uses "aws4_request".`);
  }
  if (service !== "s3") {
    throw malformed(`incorrect service "${service}". This endpoint belongs to "s3".`);
  }
  if (region !== undefined && scopeRegion !== region) {
    throw malformed(`the region '${scopeRegion}' is wrong; expecting '${region}'`, {
      Region: region,
    });
  }
  if (!DAY.test(date)) {
    throw malformed(
      `incorrect date format "${date}". This date in the credential must be in the format "yyyyMMdd".`,
    );
  }
  if (date !== timestamp.slice(0, 8)) {
    throw malformed(
      `Invalid credential date "${date}". This date is not the same as X-Amz-Date: "${timestamp.slice(0, 8)}".`,
    );
  }
  return {
    accessKey,
    scope: {
      date,
      region: scopeRegion,
      service,
      text: text.slice(accessKey.length + 1),
    },
  };
}
