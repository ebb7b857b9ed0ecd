/**
 * The index of one machine with several folders: LMDB in one of them, copies and logs in others, so that it survives
 * the loss of all but one of those that hold it.
 *
 * The supervising process calls `recoverIndex` once, before any process opens the index; then every process, itself
 * included, calls `openIndex` with the layout that came of it. One of them calls `maintain` now and then.
 */
import type { Logger } from "#lib/log.ts";
import {
  exists,
  fileBytes,
  makeFolder,
  namesIn,
  removeFile,
  renameDurably,
  syncFileAside,
} from "#metadata/index-files.ts";
import {
  copyFile,
  dataFile,
  type IndexLayout,
  logFile,
  type Membership,
  numbered,
  readMembership,
  removeCopies,
  removeIndex,
  unfinishedCopy,
} from "#metadata/index-layout.ts";
import { LmdbMetadata } from "#metadata/lmdb.ts";
import { openEnvironment } from "#metadata/lmdb-environment.ts";
import { WriterThread } from "#metadata/writer-thread.ts";

export interface IndexFolderState {
  readonly path: string;
  /** Joining: its copy is being made. Spare: it holds nothing of the index. */
  readonly role: "home" | "copy" | "joining" | "spare";
}

export interface LocalIndexOptions {
  readonly layout: IndexLayout;
  readonly log: Logger;
  /** Free space on any folder below which only pure deletes are taken. */
  readonly reserveBytes?: number;
}

const RESERVE_BYTES = 64 * 1024 * 1024;
/** A log this long is replayed in a second or two; a smaller index is copied before. */
const LOG_BYTES_MIN = 64 * 1024 * 1024;

export async function openIndex(options: LocalIndexOptions): Promise<LocalIndex> {
  const { layout, log, reserveBytes = RESERVE_BYTES } = options;
  const { path } = layout.home;
  const environment = openEnvironment(path, () => {
    throw new Error(`Cannot open index ${path}: recover it first`);
  });
  try {
    // With one folder there is nowhere to log to, ever.
    const started = {
      folder: path,
      reserveBytes,
      layout: layout.folders.length > 1 ? layout : undefined,
    };
    const writer = await WriterThread.start(started, ({ folder, reason }) => {
      log.error(
        { folder: pathOf(layout, folder), reason },
        "A copy of the index failed and is given up",
      );
    });
    return new LocalIndex({ layout, log, writer, store: new LmdbMetadata(environment, writer) });
  } catch (error) {
    await environment.database.close();
    throw error;
  }
}

export class LocalIndex implements AsyncDisposable {
  readonly store: LmdbMetadata;
  readonly #layout: IndexLayout;
  readonly #log: Logger;
  readonly #writer: WriterThread;

  constructor(parts: {
    layout: IndexLayout;
    log: Logger;
    writer: WriterThread;
    store: LmdbMetadata;
  }) {
    this.#layout = parts.layout;
    this.#log = parts.log;
    this.#writer = parts.writer;
    this.store = parts.store;
  }

  /** What each folder is to the index now; any process may have changed it. */
  folders(): readonly IndexFolderState[] {
    const { home, copies } = this.#membership();
    return this.#layout.folders.map(({ id, path }) => {
      const state = copies.find(({ folder }) => folder === id)?.state;
      if (id === home) return { path, role: "home" };
      return { path, role: state === undefined ? "spare" : state === "complete" ? "copy" : state };
    });
  }

  /** How many folders may be lost now without loss of the index. */
  get spareCopies(): number {
    return this.#membership().copies.filter(({ state }) => state === "complete").length;
  }

  /** For one process of the machine, every minute or so: makes copies anew when one is missing, or their logs have grown long. */
  async maintain(): Promise<void> {
    if (this.#layout.folders.length > 1 && (this.#isShort() || this.#isLogLong())) {
      await this.snapshot();
    }
  }

  /**
   * Copies the index as it is now beside each log, then drops the logs before; folders that are missing from the
   * wanted number of copies join. A folder that fails keeps what it had. Not to be called twice at once.
   */
  async snapshot(): Promise<void> {
    if (this.#layout.folders.length < 2) return;
    const log = await this.#writer.rotate(this.#joining());
    for (const { folder } of this.#membership().copies) {
      const path = pathOf(this.#layout, folder);
      try {
        await this.#copyTo(path, log);
        if (await this.#writer.complete(folder)) removeCopies(path, namesIn(path), log);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#log.error({ folder: path, reason }, "Cannot copy the index");
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }

  async #copyTo(path: string, log: number): Promise<void> {
    const unfinished = unfinishedCopy(path);
    removeFile(unfinished);
    makeFolder(unfinished);
    await this.store.backup(unfinished);
    await syncFileAside(dataFile(unfinished));
    renameDurably(dataFile(unfinished), copyFile(path, log));
    removeFile(unfinished);
  }

  /** Folders to fill the places of copies that are missing; emptied of what they held for an older membership. */
  #joining(): readonly string[] {
    const { home, copies } = this.#membership();
    const missing = this.#layout.copies - 1 - copies.length;
    const joining: string[] = [];
    for (const { id, path } of this.#layout.folders) {
      if (joining.length >= missing) break;
      if (id === home || copies.some(({ folder }) => folder === id)) continue;
      try {
        removeCopies(path, namesIn(path));
        removeIndex(path);
        joining.push(id);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#log.warn({ folder: path, reason }, "A folder cannot hold a copy of the index");
      }
    }
    return joining;
  }

  #isShort(): boolean {
    const wanted = Math.min(this.#layout.copies, this.#layout.folders.length) - 1;
    return this.spareCopies < wanted;
  }

  #isLogLong(): boolean {
    const [copy] = this.#membership().copies;
    if (copy === undefined) return false;
    const path = pathOf(this.#layout, copy.folder);
    if (!exists(path)) return true;
    const logs = numbered(namesIn(path), "log").map((log) => fileBytes(logFile(path, log)));
    const bytes = logs.reduce((sum, size) => sum + size, 0);
    return bytes > Math.max(LOG_BYTES_MIN, fileBytes(dataFile(this.#layout.home.path)));
  }

  #membership(): Membership {
    const membership = readMembership(this.#layout.home.path);
    if (membership === undefined)
      throw new Error("Cannot read the index's members: none are named");
    return membership;
  }
}

function pathOf(layout: IndexLayout, id: string): string {
  return layout.folders.find((folder) => folder.id === id)?.path ?? id;
}
