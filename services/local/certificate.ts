/**
 * Certificates, keys and authorities in files: read again when the files change, so that a renewed one needs no restart.
 * What cannot be used is not taken: the last good ones stay in use until all files fit together again.
 */
import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type Clock, systemClock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { ExpiryWarning } from "#local/certificate-expiry.ts";
import { EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";
import { type Certificate, certificatesIn, checkFit, checkTime, type Pem } from "#local/pem.ts";

export interface WatchParts {
  readonly log: Logger;
  readonly clock?: Clock;
  readonly read?: (path: string) => Promise<string>;
  /** Calls back when something may have changed in one of the folders. */
  readonly watchFolders?: (folders: ReadonlySet<string>, onEvent: () => void) => Disposable;
}

/** A burst of events is one look; and what does not fit together is looked at again after so long, before it is a fault. */
const SETTLE_MS = 200;
/** Network file systems and single files mounted into a container report no changes. */
const LOOK_AGAIN_MS = 30_000;

/** Why what is in the files is not taken; `content` tells it from another that fails in the same way. */
interface Refused {
  readonly reason: string;
  readonly content: string;
}

export class WatchedPem<Parts extends Pem> implements Disposable {
  readonly #paths: Parts;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #read: (path: string) => Promise<string>;
  readonly #watching: Disposable;
  readonly #expiry: ExpiryWarning;
  readonly #stop = new AbortController();
  #current: Parts;
  #check: (next: Parts) => void = () => undefined;
  #onChange: (next: Parts) => void = () => undefined;
  /** Looks follow each other, so that none ends with what it read before another. */
  #looking: Promise<void> = Promise.resolve();
  #isSettling = false;
  /** What was refused last and told, so that it is told once and not at each look. */
  #told: string | undefined;

  private constructor(paths: Parts, current: Parts, parts: Required<WatchParts>) {
    this.#paths = paths;
    this.#current = current;
    this.#log = parts.log.child({ certificate: paths.cert ?? paths.ca });
    this.#clock = parts.clock;
    this.#read = parts.read;
    this.#expiry = new ExpiryWarning(this.#log);
    this.#expiry.look(current, this.#clock.now());
    // Kubernetes and certbot swap links beside the files, so their folders are watched.
    const folders = new Set(filesOf(paths).map(([, path]) => dirname(path)));
    this.#watching = parts.watchFolders(folders, () => void this.#settle());
    void this.#keepLooking();
  }

  static async open<Parts extends Pem>(
    paths: Parts,
    { log, clock = systemClock, read = readText, watchFolders = watchThem }: WatchParts,
  ): Promise<WatchedPem<Parts>> {
    try {
      const first = await readAll(paths, read);
      checkFit(first);
      return new WatchedPem(paths, first, { log, clock, read, watchFolders });
    } catch (error) {
      throw new OperatorFault(
        `Cannot use ${describe(paths)}: ${(error as Error).message}`,
        EXIT_CONFIGURATION,
        error,
      );
    }
  }

  get current(): Parts {
    return this.#current;
  }

  /** What the listener throws refuses it. `check` throws when a renewed one is good, but not for what this process is. */
  onChange(listener: (next: Parts) => void, check: (next: Parts) => void = () => undefined): void {
    this.#onChange = listener;
    this.#check = check;
  }

  /** Looks now. */
  async reload(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    await this.#looking;
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Error("The files are not watched any more"));
    this.#watching[Symbol.dispose]();
  }

  async #keepLooking(): Promise<void> {
    while (await this.#slept(LOOK_AGAIN_MS)) await this.reload();
  }

  async #settle(): Promise<void> {
    if (this.#isSettling) return;
    this.#isSettling = true;
    const isOver = !(await this.#slept(SETTLE_MS));
    this.#isSettling = false;
    if (!isOver) await this.reload();
  }

  async #look(): Promise<void> {
    let refused = await this.#takeRenewed();
    // Files that are replaced one after another do not fit together for a moment.
    if (refused && (await this.#slept(SETTLE_MS))) refused = await this.#takeRenewed();
    if (refused && refused.content !== this.#told) {
      const { reason } = refused;
      this.#log.error(
        `Cannot take the renewed certificate: ${reason}; the one before stays in use`,
      );
    }
    this.#told = refused?.content;
    this.#expiry.look(this.#current, this.#clock.now());
  }

  /** undefined: what is in the files is in use. */
  async #takeRenewed(): Promise<Refused | undefined> {
    let content = "";
    try {
      const next = await readAll(this.#paths, this.#read);
      content = JSON.stringify(next);
      if (content === JSON.stringify(this.#current)) return undefined;
      checkFit(next);
      checkTime(next, this.#clock.now());
      this.#check(next);
      this.#onChange(next);
      this.#current = next;
    } catch (error) {
      const reason = (error as Error).message;
      return { reason, content: content === "" ? reason : content };
    }
    this.#log.info(factsOf(this.#current), "Certificate renewed");
    return undefined;
  }

  async #slept(ms: number): Promise<boolean> {
    const { signal } = this.#stop;
    await this.#clock.sleep(ms, signal).catch(() => undefined);
    return !signal.aborted;
  }
}

/** undefined: the settings name none. */
export async function openCertificate(
  { tlsCertFile, tlsKeyFile }: { tlsCertFile: string | undefined; tlsKeyFile: string | undefined },
  log: Logger,
): Promise<WatchedPem<Certificate> | undefined> {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return WatchedPem.open({ cert: tlsCertFile, key: tlsKeyFile }, { log });
}

async function readAll<Parts extends Pem>(
  paths: Parts,
  read: (path: string) => Promise<string>,
): Promise<Parts> {
  const texts = filesOf(paths).map(async ([part, path]) => [part, await read(path)] as const);
  return Object.fromEntries(await Promise.all(texts)) as Pem as Parts;
}

function filesOf(paths: Pem): readonly (readonly [part: string, path: string])[] {
  return Object.entries(paths);
}

function readText(path: string): Promise<string> {
  return readFile(path, "utf8");
}

function describe({ cert, key, ca }: Pem): string {
  const named = [
    ...(cert === undefined ? [] : [`certificate ${cert}`]),
    ...(key === undefined ? [] : [`key ${key}`]),
    ...(ca === undefined ? [] : [`authority ${ca}`]),
  ];
  return named.join(" with ");
}

/** For the log. */
function factsOf({ cert, ca = "" }: Pem): object {
  const [leaf] = certificatesIn(cert ?? ca);
  const { subject = "", issuer = "", validToDate } = leaf ?? {};
  const [subjectLine, issuerLine] = [subject, issuer].map((name) => name.replaceAll("\n", ", "));
  return { subject: subjectLine, issuer: issuerLine, expires: validToDate?.toISOString() };
}

/** Only a hint: it may miss changes, and tells of others. Where it cannot be had, looking now and then goes on. */
function watchThem(folders: ReadonlySet<string>, onEvent: () => void): Disposable {
  const watchers: FSWatcher[] = [];
  for (const folder of folders) {
    try {
      const watcher = watch(folder, { persistent: false }, onEvent);
      // The folder went away.
      watcher.on("error", () => watcher.close());
      watchers.push(watcher);
    } catch {
      // The kernel has no watch left: all containers of a machine share them.
    }
  }
  return {
    [Symbol.dispose]: () => {
      for (const watcher of watchers) watcher.close();
    },
  };
}
