/** Which bytes a request asks for. Pure arithmetic on the Range headers. */
import { S3Error } from "#gateway/errors.ts";

/** The bytes [start, end). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * What a Range header means for an object of `size` bytes; undefined: all of it. As on AWS, a header that is no
 * single byte range is ignored (RFC 9110 allows that), one that lies outside the object is answered 416.
 */
export function requestedRange(header: string | undefined, size: number): ByteRange | undefined {
  if (header === undefined) return undefined;
  const match = RANGE.exec(header);
  if (!match) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "") return last === "" ? undefined : suffix({ header, length: Number(last), size });
  const start = Number(first);
  if (last !== "" && Number(last) < start) return undefined;
  if (start >= size) throw unsatisfiable(header, size);
  return { start, end: last === "" ? size : Math.min(Number(last) + 1, size) };
}

/** x-amz-copy-source-range names both ends, and they must lie inside the source. */
export function copySourceRange(header: string, size: number): ByteRange {
  const match = COPY_RANGE.exec(header);
  const start = Number(match?.[1]);
  const end = Number(match?.[2]) + 1;
  if (!match || end <= start) {
    throw new S3Error("InvalidArgument", {
      message:
        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
      elements: { ArgumentName: "x-amz-copy-source-range", ArgumentValue: header },
    });
  }
  if (end > size) {
    throw new S3Error("InvalidRange", {
      message: `Range specified is not valid for source object of size: ${size}`,
      elements: { ActualObjectSize: String(size), RangeRequested: header },
    });
  }
  return { start, end };
}

export function contentRange({ start, end }: ByteRange, size: number): string {
  return `bytes ${start}-${end - 1}/${size}`;
}

const RANGE = /^\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i;
const COPY_RANGE = /^bytes=(\d+)-(\d+)$/;

function suffix(range: { header: string; length: number; size: number }): ByteRange {
  const { header, length, size } = range;
  if (length === 0 || size === 0) throw unsatisfiable(header, size);
  return { start: Math.max(0, size - length), end: size };
}

function unsatisfiable(header: string, size: number): S3Error {
  return new S3Error("InvalidRange", {
    elements: { RangeRequested: header, ActualObjectSize: String(size) },
    headers: { "content-range": `bytes */${size}` },
  });
}
