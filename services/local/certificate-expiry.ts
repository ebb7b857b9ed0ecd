/** When a certificate in use stops being believed, and the lines that say so in time. */
import type { X509Certificate } from "node:crypto";
import type { Logger } from "#lib/log.ts";
import { certificatesIn, type Pem } from "#local/pem.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** The nearest first. Certificates that live for days are renewed in their last third: a part of their life counts as well. */
const WARNINGS = [
  { leftMs: 0, part: 0, level: "error" },
  { leftMs: 3 * DAY_MS, part: 1 / 10, level: "error" },
  { leftMs: 14 * DAY_MS, part: 1 / 4, level: "warn" },
] as const;

export interface Expiry {
  readonly atMs: number;
  /** How long all of its life is. */
  readonly lifeMs: number;
  readonly of: "certificate" | "authority";
}

/** Of the certificate or its authority, whichever is first. */
export function expiryOf({ cert, ca }: Pem): Expiry {
  const found: Expiry[] = [];
  // Of a chain the first is ours; among those behind it there may be old ones that are there for old clients.
  const [leaf] = cert === undefined ? [] : certificatesIn(cert);
  if (leaf) found.push({ ...lifeOf(leaf), of: "certificate" });
  // Of several authorities the earlier are on their way out.
  const authorities = ca === undefined ? [] : certificatesIn(ca).map(lifeOf);
  const [latest] = authorities.toSorted((one, other) => other.atMs - one.atMs);
  if (latest) found.push({ ...latest, of: "authority" });
  const [first] = found.toSorted((one, other) => one.atMs - other.atMs);
  if (first === undefined) throw new Error("Cannot say when it expires: there is no certificate");
  return first;
}

/** Each warning once, and again every day. */
export class ExpiryWarning {
  readonly #log: Logger;
  #told = "";
  #againMs = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  look(pem: Pem, nowMs: number): void {
    const { atMs, lifeMs, of } = expiryOf(pem);
    const leftMs = atMs - nowMs;
    const due = WARNINGS.findIndex((one) => leftMs <= Math.min(one.leftMs, one.part * lifeMs));
    const warning = WARNINGS[due];
    if (warning === undefined) return;
    const what = `${due} ${atMs}`;
    if (what === this.#told && nowMs < this.#againMs) return;
    this.#told = what;
    this.#againMs = nowMs + DAY_MS;
    const whose = of === "certificate" ? "The certificate" : "The certificate's authority";
    const line =
      leftMs <= 0
        ? `${whose} has expired: new connections are refused until it is renewed`
        : `${whose} expires in ${lengthOf(leftMs)}, and has not been renewed`;
    this.#log[warning.level]({ expires: new Date(atMs).toISOString() }, line);
  }
}

function lifeOf({ validFromDate, validToDate }: X509Certificate): { atMs: number; lifeMs: number } {
  const atMs = validToDate.getTime();
  return { atMs, lifeMs: atMs - validFromDate.getTime() };
}

function lengthOf(ms: number): string {
  const days = Math.floor(ms / DAY_MS);
  if (days > 1) return `${days} days`;
  return `${Math.ceil(ms / (DAY_MS / 24))} hours`;
}
