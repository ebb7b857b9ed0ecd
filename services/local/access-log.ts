/** A line for each request: fields for machines, a sentence for people. */
import type { RequestRecord } from "#gateway/exchange.ts";
import type { Logger } from "#lib/log.ts";

export function accessLog(
  log: Logger,
  { isForPeople }: { isForPeople: boolean },
): (record: RequestRecord) => void {
  if (isForPeople) return (record) => log.info(sentence(record));
  return (record) => log.info(fields(record), "request");
}

function fields(record: RequestRecord): object {
  return {
    req_id: record.requestId,
    op: record.operation,
    method: record.method,
    bucket: record.bucket,
    key: record.key,
    user: record.caller,
    status: record.status,
    code: record.errorCode,
    complete: record.isComplete ? undefined : false,
    in: record.bytesIn,
    out: record.bytesOut,
    ms: rounded(record.ms),
    remote: record.remote,
    agent: record.userAgent,
  };
}

function sentence(record: RequestRecord): string {
  const { method, bucket, key, status, operation, errorCode, isComplete } = record;
  const place = `/${bucket}${key === "" ? "" : `/${key}`}`;
  return [
    `${method} ${printable(place)} ${status}`,
    ...(operation === undefined ? [] : [operation]),
    ...(errorCode === undefined ? [] : [errorCode]),
    ...(isComplete ? [] : ["broken off"]),
    `${rounded(record.ms)} ms, ${record.bytesIn} B in, ${record.bytesOut} B out,`,
    record.caller ?? "anonymous",
    record.requestId,
  ].join(" ");
}

/** Keys may hold what a terminal takes for orders. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
