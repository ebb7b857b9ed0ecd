/** Bytes that may be in memory at a time, of one stream and of all of them together. */

export class ByteBudget {
  readonly #bytesMax: number;
  readonly #whole: ByteBudget | undefined;
  readonly #onRoom: () => void;
  /** Parts of this one that found no room. */
  readonly #waiting = new Set<ByteBudget>();
  #used = 0;

  /** `onRoom` is called when bytes are given back after `tryTake` found no room, or `isFull` was asked and true. */
  constructor(bytesMax: number, options: { whole?: ByteBudget; onRoom?: () => void } = {}) {
    this.#bytesMax = bytesMax;
    this.#whole = options.whole;
    this.#onRoom = options.onRoom ?? (() => undefined);
  }

  get used(): number {
    return this.#used;
  }

  /** One that has nothing may take anything: a few that give nothing back must not stop all others. */
  tryTake(bytes: number): boolean {
    if (!this.#fits(bytes)) {
      if (this.#whole) this.#whole.#waiting.add(this);
      return false;
    }
    this.take(bytes);
    return true;
  }

  /** Of what is in memory already. */
  take(bytes: number): void {
    this.#used += bytes;
    this.#whole?.take(bytes);
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#whole?.give(bytes);
    if (this.#whole === undefined) this.#wake();
    else if (bytes > 0) this.#onRoom();
  }

  /** Nothing more should come in. */
  get isFull(): boolean {
    if (this.#used >= this.#bytesMax) return true;
    const whole = this.#whole;
    if (whole === undefined || this.#used === 0 || !whole.isFull) return false;
    whole.#waiting.add(this);
    return true;
  }

  /** Ends its part in the whole. */
  close(): void {
    if (this.#whole) this.#whole.#waiting.delete(this);
    if (this.#used > 0) this.give(this.#used);
  }

  #fits(bytes: number): boolean {
    if (this.#used === 0) return true;
    if (this.#used + bytes > this.#bytesMax) return false;
    return this.#whole === undefined || this.#whole.#used + bytes <= this.#whole.#bytesMax;
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const part of waiting) part.#onRoom();
  }
}
