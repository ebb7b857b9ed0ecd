/**
 * CRC-64/NVME: the checksum S3 computes of an upload when the client names none, so it is on every
 * upload's path. Computed in WebAssembly; wasm/crc64nvme.as.ts is the source.
 */
import { fixedMemory, loadKernel } from "#lib/wasm/load-kernel.ts";

interface Kernel {
  prepare(): void;
  update(length: number): void;
}

/** Where the kernel expects its input. */
const INPUT = 65_536;
/** A socket's read. Less makes the kernel end its long runs too often, more leaves the second-level cache. */
const INPUT_BYTES = 64 * 1024;

const wasm = fixedMemory(INPUT + INPUT_BYTES);
const kernel = loadKernel(new URL("wasm/crc64nvme.wasm", import.meta.url), wasm) as Kernel;
kernel.prepare();
const input = new Uint8Array(wasm.buffer, INPUT, INPUT_BYTES);
/** The kernel's running value, low half first; every CRC brings its own and takes it away again. */
const state = new Uint32Array(wasm.buffer, 0, 2);

/** A CRC-64/NVME computed piece by piece. */
export class Crc64Nvme {
  #low = 0xffffffff;
  #high = 0xffffffff;

  update(bytes: Uint8Array): void {
    state[0] = this.#low;
    state[1] = this.#high;
    if (bytes.length <= INPUT_BYTES) {
      take(bytes);
    } else {
      for (let start = 0; start < bytes.length; start += INPUT_BYTES) {
        take(bytes.subarray(start, start + INPUT_BYTES));
      }
    }
    this.#low = state[0];
    this.#high = state[1];
  }

  /** Of all bytes so far, big endian; more may follow. */
  digest(): Buffer {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeUInt32BE(~this.#high >>> 0, 0);
    bytes.writeUInt32BE(~this.#low >>> 0, 4);
    return bytes;
  }
}

function take(bytes: Uint8Array): void {
  input.set(bytes);
  kernel.update(bytes.length);
}
