/**
 * Requests on their way into the metrics: noted one by one, handed over many at a time. The code that looks a metric up by its
 * labels is cold when a request has just been served, and then costs each of them more than its own work: 2.5 % of a small read.
 */
import type { RequestRecord } from "#gateway/exchange.ts";
import type { Metrics } from "#lib/metrics.ts";

/** Errors that say who may not, or how it was signed: worth a metric of their own. */
const AUTH_ERRORS = new Set([
  "AccessDenied",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "RequestTimeTooSkewed",
  "AuthorizationHeaderMalformed",
  "AuthorizationQueryParametersError",
]);

/** Handed over when so many have gathered, if nobody asks for the metrics before. */
const GATHERED_MAX = 256;

/** What is counted of one request. */
interface Counted extends Pick<RequestRecord, "status" | "errorCode" | "ms"> {
  readonly operation: string;
}

export class RequestTally {
  readonly #metrics: Metrics;
  readonly #gathered: Counted[] = [];
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  count({ operation, status, errorCode, ms, bytesIn, bytesOut }: RequestRecord): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
    this.#gathered.push({ operation: operation ?? "unknown", status, errorCode, ms });
    if (this.#gathered.length === GATHERED_MAX) this.handOver();
  }

  /** To be called before the metrics are read. */
  handOver(): void {
    const { requests, requestSeconds, bytes, authFailures } = this.#metrics;
    for (const { operation, status, errorCode, ms } of this.#gathered) {
      requests.inc({ operation, status });
      requestSeconds.observe({ operation }, ms / 1000);
      if (errorCode !== undefined && AUTH_ERRORS.has(errorCode)) {
        authFailures.inc({ reason: errorCode });
      }
    }
    this.#gathered.length = 0;
    if (this.#bytesIn > 0) bytes.inc({ direction: "in" }, this.#bytesIn);
    if (this.#bytesOut > 0) bytes.inc({ direction: "out" }, this.#bytesOut);
    this.#bytesIn = 0;
    this.#bytesOut = 0;
  }
}
