/** What the store and its writer thread tell each other. Bytes of a group: commit-group.ts. */

/** What the writer is started with. */
export interface WriterOptions {
  readonly folder: string;
  /** Room that pure deletes may still use when puts are refused. */
  readonly reserveBytes: number;
}

export type WriterRequest =
  | { readonly kind: "group"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "close" };

/** A place in `current` for each expectation of the commit, in order. */
export interface Conflict {
  readonly place: number;
  readonly current: readonly (CurrentEntry | undefined)[];
}

export interface CurrentEntry {
  readonly value: Uint8Array;
  readonly revision: number;
}

export type WriterReply =
  | { readonly kind: "ready" }
  /** All commits of the group are durable, but for those that conflict or found no room. */
  | {
      readonly kind: "done";
      readonly group: number;
      /** Places of commits that changed nothing. */
      readonly idle: readonly number[];
      readonly conflicts: readonly Conflict[];
      readonly full: readonly number[];
    }
  /** Indeterminate: the group may have taken effect; else nothing was written. No later group is taken. */
  | { readonly kind: "failed"; readonly isIndeterminate: boolean; readonly reason: string }
  | { readonly kind: "closed" };
