/** Pages of a range on etcd, each at one revision, in as many requests as it takes. */
import { RANGE_PATH } from "#metadata/etcd-calls.ts";
import { EtcdFailure } from "#metadata/etcd-failure.ts";
import { type PageCost, PageEnds } from "#metadata/etcd-page-end.ts";
import { answered, notCompacted, READ_LIMITS, type ReadParts } from "#metadata/etcd-reads.ts";
import { decodePage } from "#metadata/etcd-wire.ts";
import { afterKey } from "#metadata/keys.ts";
import type { Entry, RangePage, RangeRequest } from "#metadata/metadata-store.ts";

/** What an answer that was too large is asked for again in. */
const SMALLER = 4;

/** One page while it is read. */
interface Reading extends PageCost {
  readonly reverse: boolean;
  readonly wanted: number;
  readonly found: Entry[];
  /** 0 until the first answer has named one. */
  revision: number;
  counted: number;
  tried: number;
}

export class Pages {
  readonly #parts: ReadParts;
  readonly #ends = new PageEnds();

  constructor(parts: ReadParts) {
    this.#parts = parts;
  }

  async read(request: RangeRequest): Promise<RangePage> {
    const { from, to, limit } = request;
    if (Buffer.compare(from, to) >= 0) return { entries: [], more: false };
    const reading = await notCompacted(() => this.#read(request));
    const { found } = reading;
    this.#ends.learn(request, found, reading);
    if (found.length <= limit) return { entries: found, more: false };
    return { entries: found.slice(0, limit), more: true };
  }

  /** One entry more than asked for, if there is one. */
  async #read({ from, to, limit, reverse = false }: RangeRequest): Promise<Reading> {
    const wanted = limit + 1;
    const reading: Reading = { reverse, wanted, found: [], revision: 0, counted: 0, tried: 0 };
    if (reverse) {
      // etcd sorts downwards by reading it all. Nothing of ours asks for large ranges so.
      await this.#section(reading, from, to);
      return reading;
    }
    let start = from;
    for (const end of this.#ends.tries(from, to, reading.wanted)) {
      reading.tried += 1;
      await this.#section(reading, start, end);
      if (reading.found.length >= reading.wanted) break;
      start = end;
    }
    return reading;
  }

  /** All that is wanted of it; in pieces when one answer would be too large. */
  async #section(reading: Reading, from: Uint8Array, to: Uint8Array): Promise<void> {
    let [start, end] = [from, to];
    let limit = reading.wanted - reading.found.length;
    while (reading.found.length < reading.wanted) {
      try {
        const request = { from: start, to: end, limit, reverse: reading.reverse };
        const piece = await this.#piece(request, reading.revision);
        reading.found.push(...piece.entries);
        reading.revision ||= piece.revision;
        reading.counted += piece.count;
        const last = piece.entries.at(-1);
        if (last === undefined || piece.entries.length < limit) return;
        if (reading.reverse) end = last.key;
        else start = afterKey(last.key);
        limit = Math.min(limit, reading.wanted - reading.found.length);
      } catch (error) {
        const isOversized = error instanceof EtcdFailure && error.kind === "oversized";
        if (!isOversized || limit === 1) throw error;
        limit = Math.ceil(limit / SMALLER);
      }
    }
  }

  async #piece(request: RangeRequest, revision: number) {
    const { members, encoder, prefixLength, note } = this.#parts;
    const bytes = encoder.page(request, revision);
    const reply = await answered(
      members.askRaw({
        ...READ_LIMITS,
        path: RANGE_PATH,
        request: bytes,
      }),
    );
    const page = decodePage(reply, prefixLength);
    note(page.revision);
    return page;
  }
}
