/** Dates as signed requests write them. */
import { memoized } from "#lib/memoized.ts";

/** A moment as it arrived, in both forms that signing needs. */
export interface SignedDate {
  /** `20130524T000000Z`. */
  readonly timestamp: string;
  readonly ms: number;
}

const BASIC = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;
/** RFC 1123; Python's `-0000` is the same as GMT. */
const HTTP =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (\d{4}) (\d\d):(\d\d):(\d\d) (?:GMT|UTC|[+-]0000)$/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** ISO 8601 basic, as x-amz-date and X-Amz-Date have it. */
export function parseBasicDate(text: string): SignedDate | undefined {
  return recentDate(text);
}

/** All requests of a second have the same. */
const recentDate = memoized(basicDate, 64);

function basicDate(text: string): SignedDate | undefined {
  const match = BASIC.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  const date = [Number(year), Number(month), Number(day)] as const;
  const ms = momentOf(date, [Number(hour), Number(minute), Number(second)]);
  return ms === undefined ? undefined : { timestamp: text, ms };
}

/** What a Date or x-amz-date header may hold: either form. */
export function parseHeaderDate(text: string): SignedDate | undefined {
  const basic = parseBasicDate(text);
  if (basic) return basic;
  const match = HTTP.exec(text);
  if (!match) return undefined;
  const [, day, name = "", year, hour, minute, second] = match;
  const month = String(MONTHS.indexOf(name) + 1).padStart(2, "0");
  return parseBasicDate(`${year}${month}${day}T${hour}${minute}${second}Z`);
}

/** undefined for 31 February, 25 o'clock and their like, which Date would carry over. */
function momentOf(
  [year, month, day]: readonly [number, number, number],
  [hour, minute, second]: readonly [number, number, number],
): number | undefined {
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59) return undefined;
  const midnight = Date.UTC(year, month - 1, day);
  // The first of this month and of the next: a day between them is one of this month's.
  const isOfMonth = midnight >= Date.UTC(year, month - 1) && midnight < Date.UTC(year, month);
  return isOfMonth ? midnight + ((hour * 60 + minute) * 60 + second) * 1000 : undefined;
}
