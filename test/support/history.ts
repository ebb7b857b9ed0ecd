/**
 * What clients asked of a store and what it answered: the only thing that a checker looks at, so that simulation and real
 * clusters are judged alike. Values are named, one name for each content ever written; who records a history turns ETags
 * and bytes into those names, and says `wrong` where that cannot be done.
 */

export type Condition =
  | { readonly kind: "if-none-match" }
  /** The value that must be there. */
  | { readonly kind: "if-match"; readonly value: string }
  /** Of DeleteObject over HTTP: where there is nothing, there is nothing to refuse. */
  | { readonly kind: "if-match-or-absent"; readonly value: string };

export type Action =
  /** PutObject, CopyObject or CompleteMultipartUpload: this value becomes current at one instant. */
  | {
      readonly kind: "put";
      readonly value: string;
      readonly condition?: Condition | undefined;
      /** Of CompleteMultipartUpload; several of one upload are one change. */
      readonly uploadId?: string;
    }
  | {
      readonly kind: "delete";
      readonly condition?: Condition | undefined;
      /** That version goes for good. */
      readonly versionId?: string | undefined;
    }
  /** GET or HEAD. */
  | { readonly kind: "read"; readonly versionId?: string | undefined }
  /** ListObjects of the keys from ≤ key < to; `key` of the operation is empty. */
  | { readonly kind: "list"; readonly from: string; readonly to: string | undefined }
  /** ListObjectVersions of the whole bucket; `key` of the operation is empty. */
  | { readonly kind: "list-versions" }
  | { readonly kind: "abort"; readonly uploadId: string };

/** A version as a listing shows it; without a value it is a delete marker. */
export interface SeenVersion {
  readonly value: string | undefined;
  readonly versionId: string;
}

export type Answer =
  | { readonly kind: "done"; readonly versionId?: string | undefined }
  /** The condition did not hold. */
  | { readonly kind: "refused" }
  /** It may have happened, or happen later. */
  | { readonly kind: "unknown" }
  /** It certainly did not happen, and nothing was learnt. */
  | { readonly kind: "nothing" }
  | {
      readonly kind: "seen";
      readonly value: string;
      readonly versionId?: string | undefined;
    }
  | { readonly kind: "absent" }
  | { readonly kind: "listed"; readonly found: readonly (readonly [key: string, value: string])[] }
  | {
      readonly kind: "versions";
      /** Newest first. */
      readonly found: readonly (readonly [key: string, versions: readonly SeenVersion[]])[];
    }
  /** Bytes or ETags that nobody wrote, a short clean body, … */
  | { readonly kind: "wrong"; readonly what: string };

export interface Operation {
  readonly id: number;
  readonly client: string;
  readonly gateway: string;
  readonly bucket: string;
  readonly key: string;
  readonly action: Action;
  readonly began: number;
  /** Infinity while there is no answer. */
  readonly ended: number;
  readonly answer: Answer;
}

export type Asked = Pick<Operation, "client" | "gateway" | "bucket" | "key" | "action">;

/** Records in the order of one clock that all clients share: each begin and each end has an instant of its own. */
export class History {
  readonly #operations: Operation[] = [];
  #now = 0;

  get operations(): readonly Operation[] {
    return this.#operations;
  }

  /** The instant after all that was recorded so far. */
  now(): number {
    return ++this.#now;
  }

  /** Answers how to record the answer; until then it is unknown. `began`: an earlier instant of `now`. */
  begin(asked: Asked, began = this.now()): (answer: Answer) => void {
    const id = this.#operations.length;
    const open: Operation = {
      ...asked,
      id,
      began,
      ended: Number.POSITIVE_INFINITY,
      answer: { kind: "unknown" },
    };
    this.#operations.push(open);
    return (answer) => {
      const at = this.now();
      const ended = answer.kind === "unknown" ? Number.POSITIVE_INFINITY : at;
      this.#operations[id] = { ...open, ended, answer };
    };
  }
}
