/**
 * A power cut, without pulling a plug: the data folder lies on an ext4 in a file, which is looped and mounted with writeback
 * held back, the server is stopped in mid-load, and the file is copied: the copy holds what had reached the device, no more.
 *
 * It models neither a volatile cache in the device nor a torn sector; the faulty disk of the unit tests does.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Room for the volumes of fifty rounds and two indexes; sparse, so that copying takes what is used. */
const IMAGE_BYTES = 4 * 1024 * 1024 * 1024;
const UNMOUNT_MS = 10_000;
const WRITEBACK = "/proc/sys/vm/dirty_writeback_centisecs";
const EXPIRE = "/proc/sys/vm/dirty_expire_centisecs";

export function canCutPower(): boolean {
  return process.getuid?.() === 0 && existsSync("/dev/loop-control") && existsSync(WRITEBACK);
}

export class PowerCutDisk implements Disposable {
  readonly #scratch = mkdtempSync(
    join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "anybucket-power-"),
  );
  readonly #sysctls: readonly [string, string][];
  #generation = 0;

  constructor() {
    this.#sysctls = [WRITEBACK, EXPIRE].map((path) => [path, readFileSync(path, "utf8")]);
    writeFileSync(WRITEBACK, "0");
    writeFileSync(EXPIRE, "360000");
    execFileSync("truncate", ["-s", String(IMAGE_BYTES), this.#image]);
    execFileSync("mkfs.ext4", [
      "-q",
      "-F",
      "-E",
      "lazy_itable_init=0,lazy_journal_init=0",
      this.#image,
    ]);
    this.#mount();
  }

  /** The mounted file system. */
  get folder(): string {
    return join(this.#scratch, `mount-${this.#generation}`);
  }

  get #image(): string {
    return join(this.#scratch, `image-${this.#generation}`);
  }

  /** Copies the device as it is now. Nothing may run on the new folder before `swap`. */
  copy(): void {
    const next = join(this.#scratch, `image-${this.#generation + 1}`);
    execFileSync("cp", ["--sparse=always", this.#image, next]);
  }

  /** Drops the old file system (nothing may have it open) and mounts the copy: the power is back. */
  swap(): void {
    this.#unmount();
    rmSync(this.#image);
    this.#generation++;
    this.#mount();
  }

  [Symbol.dispose](): void {
    this.#unmount();
    rmSync(this.#scratch, { recursive: true, force: true });
    for (const [path, value] of this.#sysctls) writeFileSync(path, value);
  }

  #mount(): void {
    execFileSync("mkdir", ["-p", this.folder]);
    execFileSync("mount", ["-o", "loop,commit=300", this.#image, this.folder]);
  }

  /** A killed process lets go of its files when it next has the processor, which on a busy machine takes a while. */
  #unmount(): void {
    const untilMs = performance.now() + UNMOUNT_MS;
    for (;;) {
      try {
        return void execFileSync("umount", [this.folder], { stdio: "pipe" });
      } catch (error) {
        if (performance.now() > untilMs) throw error;
        execFileSync("sleep", ["0.1"]);
      }
    }
  }
}
