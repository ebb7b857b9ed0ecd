/** The certificate and its key: read again when their files change; the last good ones stay in use. */
import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { createSecureContext } from "node:tls";
import type { Logger } from "#lib/log.ts";
import { EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";

/** PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** A burst of events is one reload. */
const SETTLE_MS = 200;
/** Network file systems and single files mounted into a container report no changes. */
const LOOK_AGAIN_MS = 60_000;

export class WatchedCertificate implements Disposable {
  readonly #files: CertificateFiles;
  readonly #log: Logger;
  readonly #watchers: FSWatcher[] = [];
  readonly #looking: NodeJS.Timeout;
  #current: Certificate;
  #settling: NodeJS.Timeout | undefined;
  #onChange: (certificate: Certificate) => void = () => undefined;
  /** The last fault told, so that it is told once and not every minute. */
  #fault = "";

  private constructor(files: CertificateFiles, current: Certificate, log: Logger) {
    this.#files = files;
    this.#current = current;
    this.#log = log;
    // Kubernetes and certbot swap links beside the files, so their folders are watched.
    const folders = new Set([dirname(files.certFile), dirname(files.keyFile)]);
    for (const folder of folders) {
      const watcher = watch(folder, { persistent: false }, () => this.#settle());
      // The folder went away; looking now and then goes on.
      watcher.on("error", () => watcher.close());
      this.#watchers.push(watcher);
    }
    this.#looking = setInterval(() => void this.reload(), LOOK_AGAIN_MS).unref();
  }

  static async open(files: CertificateFiles, log: Logger): Promise<WatchedCertificate> {
    try {
      return new WatchedCertificate(files, await load(files), log);
    } catch (error) {
      throw new OperatorFault(
        `Cannot use certificate ${files.certFile} with key ${files.keyFile}: ${(error as Error).message}`,
        EXIT_CONFIGURATION,
        error,
      );
    }
  }

  get current(): Certificate {
    return this.#current;
  }

  onChange(listener: (certificate: Certificate) => void): void {
    this.#onChange = listener;
  }

  async reload(): Promise<void> {
    const { certFile } = this.#files;
    try {
      const next = await load(this.#files);
      this.#fault = "";
      if (next.cert === this.#current.cert && next.key === this.#current.key) return;
      this.#current = next;
      this.#onChange(next);
      this.#log.info({ certificate: certFile }, "Certificate reloaded");
    } catch (error) {
      const fault = (error as Error).message;
      if (fault === this.#fault) return;
      this.#fault = fault;
      this.#log.error(
        { certificate: certFile, reason: fault },
        "Certificate not reloaded: the last good one stays in use",
      );
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#settling);
    clearInterval(this.#looking);
    for (const watcher of this.#watchers) watcher.close();
  }

  #settle(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => void this.reload(), SETTLE_MS);
  }
}

/** undefined: the settings name none. */
export async function openCertificate(
  { tlsCertFile, tlsKeyFile }: { tlsCertFile: string | undefined; tlsKeyFile: string | undefined },
  log: Logger,
): Promise<WatchedCertificate | undefined> {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return WatchedCertificate.open({ certFile: tlsCertFile, keyFile: tlsKeyFile }, log);
}

/** Throws when the two do not belong together. */
async function load({ certFile, keyFile }: CertificateFiles): Promise<Certificate> {
  const [cert, key] = await Promise.all([readFile(certFile, "utf8"), readFile(keyFile, "utf8")]);
  createSecureContext({ cert, key });
  return { cert, key };
}
