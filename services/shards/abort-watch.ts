/** Many waits on one signal with one listener on it: a request of a client waits for several disks at a time. */

export interface Abortable {
  /** The signal has aborted. */
  abort(reason: unknown): void;
}

const watches = new WeakMap<AbortSignal, Set<Abortable>>();

export function watchAbort(signal: AbortSignal, wait: Abortable): void {
  const known = watches.get(signal);
  if (known) {
    known.add(wait);
    return;
  }
  const waits = new Set([wait]);
  watches.set(signal, waits);
  const onAbort = () => {
    watches.delete(signal);
    for (const each of waits) each.abort(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
}

export function unwatchAbort(signal: AbortSignal, wait: Abortable): void {
  watches.get(signal)?.delete(wait);
}
