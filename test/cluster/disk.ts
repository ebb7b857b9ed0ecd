/** The folder of one storage node: a small file system of its own, looped and mounted, that can be filled and have its bits flipped. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chown, mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Random } from "#lib/random.ts";

const run = promisify(execFile);
/** Sparse: it takes what is used. Room for what two campaigns leave until compaction has come round. */
const IMAGE_BYTES = 6 * 1024 ** 3;
const FILLER = "filler";
/** Less than any reserve, so that nothing more is taken, and enough for the file system's own needs. */
const LEFT_BYTES = 8 * 1024 ** 2;
/** Of the image's user. */
const USER = 1000;
/** The newest volume's tail may be cut by a crash, and what lay there be missed by no one: bits flip below it. */
const TAIL_BYTES = 4 * 1024 ** 2;

export function canMakeDisks(): boolean {
  return process.getuid?.() === 0 && existsSync("/dev/loop-control");
}

export class NodeDisk {
  readonly folder: string;
  readonly #image: string;

  private constructor(folder: string, image: string) {
    this.folder = folder;
    this.#image = image;
  }

  static async make(parent: string, name: string): Promise<NodeDisk> {
    const disk = new NodeDisk(join(parent, name), join(parent, `${name}.image`));
    await run("truncate", ["-s", String(IMAGE_BYTES), disk.#image]);
    await run("mkfs.ext4", ["-q", "-F", "-m", "0", disk.#image]);
    await mkdir(disk.folder);
    await run("mount", ["-o", "loop", disk.#image, disk.folder]);
    await rm(join(disk.folder, "lost+found"), { recursive: true });
    await chown(disk.folder, USER, 0);
    return disk;
  }

  async fill(): Promise<void> {
    const { bavail, bsize } = await statfs(this.folder);
    const bytes = Math.max(0, bavail * bsize - LEFT_BYTES);
    await run("fallocate", ["-l", String(bytes), join(this.folder, FILLER)]);
  }

  async empty(): Promise<void> {
    await rm(join(this.folder, FILLER), { force: true });
  }

  /** Single bits, anywhere in what was stored; answers how many. */
  async flipBits(wanted: number, random: Random): Promise<number> {
    const paths = (await readdir(this.folder, { recursive: true }))
      .filter((path) => path.endsWith(".volume"))
      .toSorted()
      .map((path) => join(this.folder, path));
    let flipped = 0;
    for (let flip = 0; flip < wanted; flip++) {
      const path = paths[Math.floor(random.fraction() * paths.length)];
      if (path !== undefined && (await flipBit(path, random))) flipped += 1;
    }
    return flipped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", [this.folder]);
    await rm(this.#image);
  }
}

async function flipBit(path: string, random: Random): Promise<boolean> {
  const length = (await stat(path)).size - TAIL_BYTES;
  if (length <= 0) return false;
  await using file = await open(path, "r+");
  const at = Math.floor(random.fraction() * length);
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ (1 << Math.floor(random.fraction() * 8));
  await file.write(byte, 0, 1, at);
  return true;
}
