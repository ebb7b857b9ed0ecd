/** The numbers of parts, and where a list of them goes on. */
import { S3Error } from "#gateway/errors.ts";

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
export const PART_NUMBER_MAX = 10_000;

/** `partNumber` of a request; throws InvalidArgument unless it is 1 … 10,000. */
export function partNumberOf(text: string | undefined): number {
  const number = text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (isPartNumber(number)) return number;
  throw new S3Error("InvalidArgument", {
    message: `Part number must be an integer between 1 and ${PART_NUMBER_MAX}, inclusive`,
    elements: { ArgumentName: "partNumber", ArgumentValue: text ?? "" },
  });
}

export function isPartNumber(number: number): boolean {
  return number >= 1 && number <= PART_NUMBER_MAX;
}

/** The part number after which a page begins; from the start when left out. */
export function partNumberMarker(name: string, text: string | undefined): number {
  if (text === undefined || text === "") return 0;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new S3Error("InvalidArgument", {
    message: `Provided ${name} not an integer or within integer range`,
    elements: { ArgumentName: name, ArgumentValue: text },
  });
}
