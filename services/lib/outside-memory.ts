/**
 * Buffers lie outside V8's heap, and V8 counts them: when some 64 MiB have come up it marks its whole heap to find those that nobody
 * needs, tens of milliseconds for what is in truth a stream of short-lived ones. A collection of the young generation alone frees
 * them in a millisecond, but V8 makes one only when the heap itself has grown. So who moves much asks for it now and then.
 *
 * Works in processes started with --expose-gc, as the launcher starts the cluster's roles; in others it does nothing.
 */
const collect = (globalThis as { gc?: (options: { type: "minor" }) => void }).gc;

/** Fewer, and a collection costs more than it saves; more, and V8 is there first. */
const BYTES_BETWEEN = 16 * 1024 * 1024;

let moved = 0;

/** So many bytes came or went in buffers of their own. */
export function noteMoved(bytes: number): void {
  moved += bytes;
  if (moved < BYTES_BETWEEN) return;
  moved = 0;
  collect?.({ type: "minor" });
}
