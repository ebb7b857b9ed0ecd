/** Dates as S3 writes them. A version has one date, in whole seconds wherever it is shown (edge rule 21). */

/** `Sun, 06 Nov 1994 08:49:37 GMT`, for headers. */
export function httpDate(ms: number): string {
  return httpDates.of(Math.floor(ms / 1000));
}

/** `1994-11-06T08:49:37.000Z`, for documents. */
export function isoDate(ms: number): string {
  return isoDates.of(Math.floor(ms / 1000));
}

/** The instant that an HTTP date names; undefined when it names none. */
export function parseHttpDate(text: string): number | undefined {
  if (HTTP_DATE.test(text)) return parse(text);
  return ASCTIME.test(text) ? parse(`${text} GMT`) : undefined;
}

/** The instant of an ISO 8601 timestamp or an HTTP date, as timestamps come in documents and headers. */
export function parseTimestamp(text: string): number | undefined {
  return ISO_DATE.test(text) ? parse(text) : parseHttpDate(text);
}

/** IMF-fixdate and RFC 850, which name their zone. */
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})|[A-Z][a-z]+day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT)$/;
/** C's asctime, which names none; RFC 9110 asks for it to be read as GMT. */
const ASCTIME = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/;
const ISO_DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)$/;

function parse(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** Formatting a date costs a microsecond, and neighbours in a listing often share theirs. */
class LastAnswer {
  readonly #format: (number: number) => string;
  #number = Number.NaN;
  #text = "";

  constructor(format: (number: number) => string) {
    this.#format = format;
  }

  of(number: number): string {
    if (number !== this.#number) {
      this.#text = this.#format(number);
      this.#number = number;
    }
    return this.#text;
  }
}

const DAY_SECONDS = 86_400;
const TWO_DIGITS = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, "0"));
/** `Sun, 06 Nov 1994 ` of the day asked for last: most versions of a bucket that is in use are of few days. */
const days = new LastAnswer((day) =>
  new Date(day * DAY_SECONDS * 1000).toUTCString().slice(0, -12),
);

/** `toUTCString`, a day's part of it kept: it costs more than the rest of a read's head. */
function utcString(second: number): string {
  const day = Math.floor(second / DAY_SECONDS);
  const inDay = second - day * DAY_SECONDS;
  const hour = Math.floor(inDay / 3600);
  const minute = Math.floor(inDay / 60) % 60;
  return `${days.of(day)}${TWO_DIGITS[hour]}:${TWO_DIGITS[minute]}:${TWO_DIGITS[inDay % 60]} GMT`;
}

const httpDates = new LastAnswer(utcString);
const isoDates = new LastAnswer((second) => new Date(second * 1000).toISOString());
