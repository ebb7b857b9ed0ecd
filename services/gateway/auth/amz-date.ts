/** Dates as signed requests write them. */

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
  const match = BASIC.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  return validDate([year, month, day, hour, minute, second].map(Number), text);
}

/** What a Date or x-amz-date header may hold: either form. */
export function parseHeaderDate(text: string): SignedDate | undefined {
  const basic = parseBasicDate(text);
  if (basic) return basic;
  const match = HTTP.exec(text);
  if (!match) return undefined;
  const [, day, month = "", year, hour, minute, second] = match;
  const fields = [year, MONTHS.indexOf(month) + 1, day, hour, minute, second].map(Number);
  const [y = 0, ...rest] = fields;
  const [mo, d, h, mi, s] = rest.map((field) => String(field).padStart(2, "0"));
  return validDate(fields, `${String(y).padStart(4, "0")}${mo}${d}T${h}${mi}${s}Z`);
}

/** Refuses 31 February, 25 o'clock and their like, which Date would carry over. */
function validDate(fields: readonly number[], timestamp: string): SignedDate | undefined {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields;
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const isReal =
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    date.getUTCMinutes() === minute &&
    date.getUTCSeconds() === second;
  return isReal ? { timestamp, ms: date.getTime() } : undefined;
}
