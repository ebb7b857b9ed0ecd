/** What the store and its writer thread tell each other. Bytes of a group: commit-group.ts. */
import type { IndexLayout } from "#metadata/index-layout.ts";

/** What the writer is started with. */
export interface WriterOptions {
  /** Where data.mdb is. */
  readonly folder: string;
  /** Room that pure deletes may still use when puts are refused. */
  readonly reserveBytes: number;
  /** Where the index log goes; undefined: there is none. */
  readonly layout: IndexLayout | undefined;
}

export type WriterRequest =
  | { readonly kind: "group"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "rotate"; readonly joining: readonly string[] }
  | { readonly kind: "complete"; readonly folder: string }
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

/** All commits of the group are durable, but for those that conflict or found no room. */
export interface DoneReply {
  readonly kind: "done";
  readonly group: number;
  /** Places of commits that changed nothing. */
  readonly idle: readonly number[];
  readonly conflicts: readonly Conflict[];
  readonly full: readonly number[];
}

export type WriterReply =
  | { readonly kind: "ready" }
  | DoneReply
  | { readonly kind: "rotated"; readonly log: number }
  | { readonly kind: "completed"; readonly isMember: boolean }
  /** Indeterminate: the group may have taken effect; else nothing was written. Nothing more is taken. */
  | { readonly kind: "failed"; readonly isIndeterminate: boolean; readonly reason: string }
  | { readonly kind: "closed" };

/** Told unasked: a copy of the index is given up until it is made anew. */
export interface WriterNotice {
  readonly kind: "dropped";
  readonly folder: string;
  readonly reason: string;
}
