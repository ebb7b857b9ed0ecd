/** Dates as S3 writes them. A version has one date, in whole seconds wherever it is shown (edge rule 21). */

/** `Sun, 06 Nov 1994 08:49:37 GMT`, for headers. */
export function httpDate(ms: number): string {
  return httpDates.of(ms);
}

/** `1994-11-06T08:49:37.000Z`, for documents. */
export function isoDate(ms: number): string {
  return isoDates.of(ms);
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
class SecondCache {
  readonly #format: (ms: number) => string;
  #second = Number.NaN;
  #text = "";

  constructor(format: (ms: number) => string) {
    this.#format = format;
  }

  of(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#text = this.#format(second * 1000);
      this.#second = second;
    }
    return this.#text;
  }
}

const httpDates = new SecondCache((ms) => new Date(ms).toUTCString());
const isoDates = new SecondCache((ms) => new Date(ms).toISOString());
