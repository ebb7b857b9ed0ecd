/** Certificates, keys and authorities as text, and whether they can be used, in words for whoever put them there. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";

/** Text, or the paths of the files that hold it. */
export interface Pem {
  /** A certificate and those between it and its authority. */
  readonly cert?: string;
  readonly key?: string;
  /** The authorities that are believed. */
  readonly ca?: string;
}

export type Certificate = Required<Pick<Pem, "cert" | "key">>;

const BEGIN = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;
const WHOLE =
  /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;

/** Throws when one of them is cut off, or there is none: OpenSSL would pass over what comes after the first. */
export function certificatesIn(text: string): readonly X509Certificate[] {
  const begun = text.match(BEGIN)?.length ?? 0;
  const whole = text.match(WHOLE) ?? [];
  if (begun === 0) throw new Error("there is no certificate in the file");
  if (whole.length < begun) throw new Error("a certificate in the file is not whole");
  return whole.map((pem) => new X509Certificate(pem));
}

/** Throws when they do not belong together. */
export function checkFit(pem: Pem): void {
  const { cert, key, ca } = pem;
  if (ca !== undefined) certificatesIn(ca);
  if (cert !== undefined && key !== undefined) {
    const [leaf] = certificatesIn(cert);
    if (leaf?.checkPrivateKey(createPrivateKey(key)) !== true) {
      throw new Error("the key is not the certificate's");
    }
  }
  // What else there may be: keys that are too short, algorithms that are too old.
  createSecureContext(pem);
}

/** Throws for one that nobody would believe now: the one before cannot be worse. */
export function checkTime({ cert }: Pem, nowMs: number): void {
  const [leaf] = cert === undefined ? [] : certificatesIn(cert);
  if (leaf === undefined) return;
  const { validFromDate, validToDate } = leaf;
  if (validToDate.getTime() <= nowMs) {
    throw new Error(`it expired at ${validToDate.toISOString()}`);
  }
  if (validFromDate.getTime() > nowMs) {
    throw new Error(`it is not valid before ${validFromDate.toISOString()}`);
  }
}
