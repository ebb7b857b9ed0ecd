/** TLS in the process: the certificate is read again when its files change, and the last good one stays in use. */
import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server, type ServerOptions } from "node:https";
import { dirname } from "node:path";
import { createSecureContext } from "node:tls";
import type { Logger } from "#lib/log.ts";

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Kubernetes swaps a link beside the files, so their folder is watched, and a burst of events is one reload. */
const SETTLE_MS = 200;

export async function createTlsServer(
  files: CertificateFiles,
  options: ServerOptions,
  log: Logger,
): Promise<Server> {
  let current = await load(files);
  const server = createServer({ ...options, ...current, minVersion: "TLSv1.2" });
  let timer: NodeJS.Timeout | undefined;
  const reload = async () => {
    try {
      const next = await load(files);
      if (next.cert.equals(current.cert) && next.key.equals(current.key)) return;
      server.setSecureContext({ ...next, minVersion: "TLSv1.2" });
      current = next;
      log.info({ certificate: files.certFile }, "Certificate reloaded");
    } catch (error) {
      log.error(
        { err: error, certificate: files.certFile },
        "Certificate not reloaded: the last good one stays in use",
      );
    }
  };
  const onChange = () => {
    clearTimeout(timer);
    timer = setTimeout(() => void reload(), SETTLE_MS);
  };
  const folders = new Set([dirname(files.certFile), dirname(files.keyFile)]);
  const watchers: FSWatcher[] = [...folders].map((folder) => watch(folder, onChange));
  server.once("close", () => {
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  });
  return server;
}

/** Throws when the two do not belong together. */
async function load(files: CertificateFiles): Promise<{ cert: Buffer; key: Buffer }> {
  const [cert, key] = await Promise.all([readFile(files.certFile), readFile(files.keyFile)]);
  createSecureContext({ cert, key });
  return { cert, key };
}
