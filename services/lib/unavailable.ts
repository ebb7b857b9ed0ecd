/** Not now: something that is needed does not answer, or has no room. A retry may go through; a client is told 503. */
export class Unavailable extends Error {
  override readonly name: string = "Unavailable";
}
