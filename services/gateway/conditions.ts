/**
 * The If-Match family: on reads (RFC 9110 §13.2.2), on copy sources, on writes and on deletes.
 * Entity tags compare without regard to quotes, since S3 clients send both.
 */
import type { RequestHeaders } from "#gateway/context.ts";
import { httpDate, parseHttpDate, parseTimestamp } from "#gateway/dates.ts";
import { S3Error } from "#gateway/errors.ts";
import type { ObjectVersion } from "#objects/model.ts";
import type { Precondition } from "#objects/object-layer.ts";

type Judged = Pick<ObjectVersion, "etag" | "lastModifiedMs">;

/** Throws PreconditionFailed or NotModified unless the version may be read as the headers ask (edge rule 4). */
export function checkReadConditions(headers: RequestHeaders, version: Judged, now: number): void {
  const match = headers.get("if-match");
  if (match !== undefined) {
    if (!matchesAny(match, version.etag)) throw failed("If-Match");
  } else {
    const unmodifiedSince = date(headers.get("if-unmodified-since"));
    if (unmodifiedSince !== undefined && seconds(version) > unmodifiedSince) {
      throw failed("If-Unmodified-Since");
    }
  }
  const noneMatch = headers.get("if-none-match");
  if (noneMatch !== undefined) {
    if (matchesAny(noneMatch, version.etag)) throw notModified(version);
  } else {
    const modifiedSince = past(headers.get("if-modified-since"), now);
    if (modifiedSince !== undefined && seconds(version) <= modifiedSince) {
      throw notModified(version);
    }
  }
}

/** The same of a copy's source, where each miss is a PreconditionFailed. */
export function checkCopySourceConditions(
  headers: RequestHeaders,
  source: Judged,
  now: number,
): void {
  const match = headers.get("x-amz-copy-source-if-match");
  if (match !== undefined) {
    if (!matchesAny(match, source.etag)) throw failed("x-amz-copy-source-If-Match");
  } else {
    const unmodifiedSince = date(headers.get("x-amz-copy-source-if-unmodified-since"));
    if (unmodifiedSince !== undefined && seconds(source) > unmodifiedSince) {
      throw failed("x-amz-copy-source-If-Unmodified-Since");
    }
  }
  const noneMatch = headers.get("x-amz-copy-source-if-none-match");
  if (noneMatch !== undefined) {
    if (matchesAny(noneMatch, source.etag)) throw failed("x-amz-copy-source-If-None-Match");
  } else {
    const modifiedSince = past(headers.get("x-amz-copy-source-if-modified-since"), now);
    if (modifiedSince !== undefined && seconds(source) <= modifiedSince) {
      throw failed("x-amz-copy-source-If-Modified-Since");
    }
  }
}

/**
 * What If-Match or If-None-Match ask of the object that a write would replace (edge rule 3). AWS takes no If-None-Match
 * but `*` and answers 501 to an entity tag; other stores give it RFC 9110's meaning, and ceph/s3-tests asks for that.
 * It refuses nothing that AWS accepts, so that it is taken here too. Both headers together have no one meaning.
 */
export function writePrecondition(headers: RequestHeaders): Precondition | undefined {
  const match = headers.get("if-match");
  const noneMatch = headers.get("if-none-match");
  if (match === undefined && noneMatch === undefined) return undefined;
  if (match !== undefined && noneMatch !== undefined)
    throw notImplemented("If-Match,If-None-Match");
  if (match !== undefined) {
    return (current) => {
      if (!current) throw new S3Error("NoSuchKey");
      if (!matchesAny(match, current.etag)) throw failed("If-Match");
    };
  }
  return (current) => {
    if (current && matchesAny(noneMatch ?? "*", current.etag)) throw failed("If-None-Match");
  };
}

/** What a conditional delete asks of the object; each may be left out. */
export interface DeleteConditions {
  readonly etag?: string | undefined;
  readonly size?: number | undefined;
  /** In whole seconds' resolution, as the date is shown. */
  readonly lastModifiedMs?: number | undefined;
}

export function deleteConditions(headers: RequestHeaders): DeleteConditions {
  const etag = headers.get("if-match");
  const size = headers.get("x-amz-if-match-size");
  const lastModified = headers.get("x-amz-if-match-last-modified-time");
  if (etag === undefined && size === undefined && lastModified === undefined) return NO_CONDITIONS;
  return {
    etag,
    size: size === undefined ? undefined : matchSize("x-amz-if-match-size", size),
    lastModifiedMs:
      lastModified === undefined
        ? undefined
        : matchTime("x-amz-if-match-last-modified-time", lastModified),
  };
}

/** undefined when nothing is asked. As on AWS, what is absent already fails no condition: it is gone, as was wanted. */
export function deletePrecondition(conditions: DeleteConditions): Precondition | undefined {
  const { etag, size, lastModifiedMs } = conditions;
  if (etag === undefined && size === undefined && lastModifiedMs === undefined) return undefined;
  return (current) => {
    if (!current) return;
    if (etag !== undefined && !matchesAny(etag, current.etag)) throw failed("If-Match");
    if (size !== undefined && current.size !== size) throw failed("x-amz-if-match-size");
    if (lastModifiedMs !== undefined && seconds(current) !== wholeSeconds(lastModifiedMs)) {
      throw failed("x-amz-if-match-last-modified-time");
    }
  };
}

/** The size that a condition names; `name` is the header's or the element's. */
export function matchSize(name: string, text: string): number {
  if (!/^\d{1,16}$/.test(text)) {
    throw new S3Error("InvalidArgument", {
      elements: { ArgumentName: name, ArgumentValue: text },
    });
  }
  return Number(text);
}

/** The time that a condition names. */
export function matchTime(name: string, text: string): number {
  const ms = parseTimestamp(text);
  if (ms === undefined) {
    throw new S3Error("InvalidArgument", {
      elements: { ArgumentName: name, ArgumentValue: text },
    });
  }
  return ms;
}

const NO_CONDITIONS: DeleteConditions = {};

function matchesAny(list: string, etag: string): boolean {
  if (list === `"${etag}"` || list === etag) return true;
  return list.split(",").some((item) => {
    const tag = item.trim().replace(/^W\//, "");
    return tag === "*" || tag === etag || tag === `"${etag}"`;
  });
}

/** A date that cannot be read asks for nothing (RFC 9110 §13.1.3). */
function date(header: string | undefined): number | undefined {
  return header === undefined ? undefined : parseHttpDate(header);
}

/** Nothing can have changed since a time to come: such a date asks for nothing either. */
function past(header: string | undefined, now: number): number | undefined {
  const ms = date(header);
  return ms === undefined || ms > now ? undefined : ms;
}

function seconds(version: Pick<ObjectVersion, "lastModifiedMs">): number {
  return wholeSeconds(version.lastModifiedMs);
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

function failed(condition: string): S3Error {
  return new S3Error("PreconditionFailed", { elements: { Condition: condition } });
}

function notModified({ etag, lastModifiedMs }: Judged): S3Error {
  return new S3Error("NotModified", {
    headers: { etag: `"${etag}"`, "last-modified": httpDate(lastModifiedMs) },
  });
}

function notImplemented(header: string): S3Error {
  return new S3Error("NotImplemented", { elements: { Header: header } });
}
