/**
 * What the clients write: each content has a name, and its bytes follow from it, so that none of them is kept. An answer's ETag
 * is turned back into the name, its bytes are compared with those made again.
 */
import { hash } from "node:crypto";

export interface Content {
  readonly name: string;
  readonly size: number;
  /** As a PutObject of it is answered. */
  readonly etag: string;
}

interface Made extends Content {
  /** Several of an upload. */
  readonly pieces: readonly { readonly number: number; readonly size: number }[];
}

export class Contents {
  readonly #byName = new Map<string, Made>();
  readonly #byEtag = new Map<string, Made>();
  readonly #ambiguous = new Set<string>();
  #last = 0;

  /** Bytes that no other content has; from 8 bytes on, as less cannot tell so many apart. */
  make(size: number): Content {
    const piece = { number: this.#last + 1, size };
    return this.#add([piece], hash("md5", bytesOf(piece)));
  }

  /**
   * What an upload of these parts becomes, under the upload's ETag as well as, once it was copied, that of its bytes. Equal bytes are
   * one content: of one part, it is that part.
   */
  joined(parts: readonly Content[]): Content {
    const digests = Buffer.concat(parts.map(({ etag }) => Buffer.from(etag, "hex")));
    const pieces = parts.flatMap(({ name }) => this.#named(name).pieces);
    const [part, second] = parts;
    const joined =
      part && second === undefined
        ? this.#named(part.name)
        : this.#add(pieces, hash("md5", Buffer.concat(pieces.map(bytesOf))));
    this.#byEtag.set(`${hash("md5", digests)}-${parts.length}`, joined);
    this.#ambiguous.add(joined.name);
    return joined;
  }

  /** Whether its ETag depends on how it came to where it is. */
  isAmbiguous(name: string): boolean {
    return this.#ambiguous.has(name);
  }

  byEtag(etag: string): Content | undefined {
    return this.#byEtag.get(etag);
  }

  named(name: string): Content {
    return this.#named(name);
  }

  bytes({ name }: Pick<Content, "name">): Buffer {
    return Buffer.concat(this.#named(name).pieces.map(bytesOf));
  }

  /** None that was made so far is asked about again. */
  forget(): void {
    this.#byName.clear();
    this.#byEtag.clear();
    this.#ambiguous.clear();
  }

  #add(pieces: Made["pieces"], etag: string): Made {
    this.#last += 1;
    const size = pieces.reduce((sum, piece) => sum + piece.size, 0);
    const made: Made = { name: `v${this.#last}`, size, etag, pieces };
    this.#byName.set(made.name, made);
    this.#byEtag.set(etag, made);
    return made;
  }

  #named(name: string): Made {
    const made = this.#byName.get(name);
    if (!made) throw new Error(`Cannot tell the bytes of ${name}: nothing of that name was made`);
    return made;
  }
}

/** Number and place in every 8 bytes: no two contents are alike anywhere, nor two places of one. */
function bytesOf({ number, size }: { readonly number: number; readonly size: number }): Buffer {
  const words = new Uint32Array(Math.ceil(size / 8) * 2);
  for (let at = 0; at < words.length; at += 2) {
    words[at] = number;
    words[at + 1] = at;
  }
  return Buffer.from(words.buffer, 0, size);
}
