/** The signals that ask a process to end in good order. */

/** Asked for before the start, so that a signal during it is not lost and does not leave anything behind. */
export async function nextStopSignal(): Promise<string> {
  const stopped = Promise.withResolvers<string>();
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stopped.resolve(signal));
  return await stopped.promise;
}
