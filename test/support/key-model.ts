/** One key as S3 describes it: what each operation does to its versions, and which answers are right. */
import type { Answer, Condition, SeenVersion } from "./history.ts";

/** What befalls one key; listings are taken apart into one of these for each key. */
export type Event =
  | {
      readonly kind: "put";
      readonly value: string;
      readonly condition: Condition | undefined;
      readonly answer: Answer;
    }
  | {
      readonly kind: "delete";
      readonly condition: Condition | undefined;
      readonly versionId: string | undefined;
      readonly answer: Answer;
    }
  | {
      readonly kind: "read";
      readonly versionId: string | undefined;
      readonly answer: Answer;
    }
  | { readonly kind: "versions"; readonly found: readonly SeenVersion[] };

/** Newest first. The id is undefined as long as nobody has heard it. */
export interface ModelVersion {
  readonly value: string | undefined;
  readonly versionId: string | undefined;
}

export type State = readonly ModelVersion[];

export interface KeyModel {
  /** The state after the event, or undefined when its answer would be wrong in this state. */
  apply(state: State, event: Event): State | undefined;
}

export const EMPTY: State = [];

/** A bucket whose versioning never changes: off or on. */
export function keyModel({ isVersioned }: { readonly isVersioned: boolean }): KeyModel {
  const push = (state: State, version: ModelVersion): State =>
    isVersioned ? [version, ...state] : version.value === undefined ? EMPTY : [version];

  const change = (
    state: State,
    { condition, answer }: { condition: Condition | undefined; answer: Answer },
    changed: (versionId: string | undefined) => State,
  ): State | undefined => {
    const isAllowed = holds(state[0], condition);
    if (answer.kind === "unknown") return isAllowed ? changed(undefined) : state;
    if (answer.kind === "refused") return isAllowed ? undefined : state;
    if (answer.kind !== "done" || !isAllowed) return undefined;
    return changed(isVersioned ? answer.versionId : undefined);
  };

  return {
    apply: (state, event) => {
      switch (event.kind) {
        case "put":
          return change(state, event, (versionId) =>
            push(state, { value: event.value, versionId }),
          );
        case "delete":
          if (event.versionId !== undefined) {
            const kept = state.filter(({ versionId }) => versionId !== event.versionId);
            return change(state, event, () => kept);
          }
          return change(state, event, (versionId) => push(state, { value: undefined, versionId }));
        case "read":
          return event.versionId === undefined
            ? readHead(state, event.answer)
            : readVersion(state, event.versionId, event.answer);
        case "versions":
          return readAll(state, event.found);
      }
    },
  };
}

function holds(head: ModelVersion | undefined, condition: Condition | undefined): boolean {
  switch (condition?.kind) {
    case undefined:
      return true;
    case "if-none-match":
      return head?.value === undefined;
    case "if-match":
      return head?.value === condition.value;
    case "if-match-or-absent":
      return head?.value === undefined || head.value === condition.value;
  }
}

function readHead(state: State, answer: Answer): State | undefined {
  const [head, ...older] = state;
  if (answer.kind === "absent") return head?.value === undefined ? state : undefined;
  if (answer.kind !== "seen" || head?.value !== answer.value) return undefined;
  const known = named(head, answer.versionId);
  return known && (known === head ? state : [known, ...older]);
}

function readVersion(state: State, versionId: string, answer: Answer): State | undefined {
  const version = state.find((one) => one.versionId === versionId);
  if (answer.kind === "absent") return version?.value === undefined ? state : undefined;
  return answer.kind === "seen" && version?.value === answer.value ? state : undefined;
}

function readAll(state: State, found: readonly SeenVersion[]): State | undefined {
  if (found.length !== state.length) return undefined;
  const known = state.map((version, place) => {
    const seen = found[place];
    return version.value === seen?.value ? named(version, seen?.versionId) : undefined;
  });
  return known.every((version) => version !== undefined) ? known : undefined;
}

/** The version with the id that was heard of it; undefined when it has another one. */
function named(version: ModelVersion, versionId: string | undefined): ModelVersion | undefined {
  if (versionId === undefined || version.versionId === versionId) return version;
  return version.versionId === undefined ? { ...version, versionId } : undefined;
}
