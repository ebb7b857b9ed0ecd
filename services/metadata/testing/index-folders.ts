/** Folders of a machine in a temporary place, to lose, replace and bring back. */
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, silentLog } from "#lib/log.ts";
import { METADATA_FOLDER } from "#metadata/index-layout.ts";
import { type LocalIndex, openIndex } from "#metadata/index-log.ts";
import { recoverIndex } from "#metadata/index-recovery.ts";

export class IndexFolders implements AsyncDisposable {
  readonly root: string;
  readonly paths: readonly string[];
  readonly #copies: number;

  static async make(count: number, copies: number): Promise<IndexFolders> {
    const folders = new IndexFolders(await mkdtemp(join(tmpdir(), "anybucket-folders-")), {
      count,
      copies,
    });
    for (const path of folders.paths) await mkdir(path);
    return folders;
  }

  private constructor(root: string, { count, copies }: { count: number; copies: number }) {
    this.root = root;
    this.#copies = copies;
    this.paths = Array.from({ length: count }, (_, number) => join(root, `disk${number}`));
  }

  /** As on a start of the machine: recovered, then opened. Folders that are left out are not mounted. */
  async start(without: readonly number[] = [], log: Logger = silentLog): Promise<LocalIndex> {
    return openIndex({ layout: await this.recover(without, log), log });
  }

  recover(without: readonly number[] = [], log: Logger = silentLog) {
    const folders = this.paths.filter((_, number) => !without.includes(number));
    return recoverIndex({ folders, copies: this.#copies, log });
  }

  pathOf(number: number): string {
    return join(this.paths[number] ?? "", METADATA_FOLDER);
  }

  /** As if by new, empty disks. */
  async replace(...numbers: readonly number[]): Promise<void> {
    for (const number of numbers) {
      await rm(this.paths[number] ?? "", { recursive: true });
      await mkdir(this.paths[number] ?? "");
    }
  }

  /** As they are now, elsewhere. */
  async copy(): Promise<IndexFolders> {
    const copy = await IndexFolders.make(this.paths.length, this.#copies);
    await cp(this.root, copy.root, { recursive: true });
    return copy;
  }

  /** What a disk held, to come back with it later. */
  async keep(number: number): Promise<() => Promise<void>> {
    const path = this.paths[number] ?? "";
    const aside = `${path}-${Math.random()}`;
    await cp(path, aside, { recursive: true });
    return async () => {
      await rm(path, { recursive: true, force: true });
      await cp(aside, path, { recursive: true });
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true });
  }
}
