/**
 * The memory of large messages that came, given back when it has been read: see lib/bytes.ts on what leaving it to V8 costs.
 * Not of those that go: HTTP/2 still reads them when it says that they are written.
 */

/** Smaller ones may share their memory with others. */
const FREED_BYTES_MIN = 128 * 1024;

/** `bytes`: nearly all of a message, which nobody looks at any more. */
export function freeMessage(bytes: Uint8Array): void {
  const { buffer, length } = bytes;
  if (length < FREED_BYTES_MIN || length < buffer.byteLength / 2) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
