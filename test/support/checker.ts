/**
 * Judges a history (I1 to I6): every key linearizable, listings included; no bytes that nobody wrote; an upload ends one way;
 * and, once all faults are healed, every acknowledged version readable through every gateway.
 */
import type { Answer, Operation, SeenVersion } from "./history.ts";
import { type Event, type KeyModel, keyModel, type State } from "./key-model.ts";
import { type Interval, linearize, type Verdict } from "./linearize.ts";

export interface Judged {
  /** Each broken promise as a sentence. */
  readonly violations: readonly string[];
  readonly keys: number;
  /** Keys whose order was too much to search for. */
  readonly undecided: readonly string[];
  /** Share of the operations that had no answer. */
  readonly unknownShare: number;
}

export interface HistoryTerms {
  readonly versionedBuckets: ReadonlySet<string>;
  /** From this instant on no fault was left, and the clients read everything through each of these gateways. */
  readonly healed?: { readonly at: number; readonly gateways: readonly string[] };
}

export function judge(operations: readonly Operation[], terms: HistoryTerms): Judged {
  const { sound, violations } = withoutLies(operations);
  const effective = mergeUploads(sound, violations);
  const undecided: string[] = [];
  const byKey = intervalsByKey(effective);
  for (const [name, { bucket, intervals }] of byKey) {
    const model = keyModel({ isVersioned: terms.versionedBuckets.has(bucket) });
    const verdict = searched(model, intervals);
    if (verdict.kind === "undecided") undecided.push(name);
    if (verdict.kind === "impossible") {
      violations.push(`${name}: no order explains ${told(verdict.stuck, verdict.state)}`);
    }
  }
  if (terms.healed) violations.push(...unread(effective, terms, terms.healed));
  const unknown = operations.filter(({ answer }) => answer.kind === "unknown").length;
  const unknownShare = operations.length === 0 ? 0 : unknown / operations.length;
  return { violations, keys: byKey.size, undecided, unknownShare };
}

/** Answers that are wrong whatever else happened. */
function withoutLies(operations: readonly Operation[]): {
  sound: readonly Operation[];
  violations: string[];
} {
  const violations: string[] = [];
  const sound = operations.filter((operation) => {
    const { bucket, key, gateway, id, answer } = operation;
    if (answer.kind !== "wrong") return answer.kind !== "nothing";
    violations.push(`${bucket}/${key}: wrong through ${gateway} (#${id}): ${answer.what}`);
    return false;
  });
  return { sound, violations };
}

/** Several Completes of one upload are one change, and none once its Abort was acknowledged. */
function mergeUploads(operations: readonly Operation[], violations: string[]): Operation[] {
  const aborted = new Set<string>();
  for (const { action, answer } of operations) {
    if (action.kind === "abort" && answer.kind === "done") aborted.add(action.uploadId);
  }
  const merged = new Map<string, Operation>();
  const others: Operation[] = [];
  for (const operation of operations) {
    const { action, bucket, key } = operation;
    if (action.kind === "abort") continue;
    const uploadId = action.kind === "put" ? action.uploadId : undefined;
    if (uploadId === undefined) {
      others.push(operation);
      continue;
    }
    if (aborted.has(uploadId)) {
      if (operation.answer.kind === "done") {
        violations.push(`${bucket}/${key}: upload ${uploadId} was both completed and aborted`);
      }
      continue;
    }
    const before = merged.get(uploadId);
    merged.set(uploadId, before === undefined ? operation : joined(before, operation));
  }
  return [...others, ...merged.values()];
}

function joined(one: Operation, other: Operation): Operation {
  const answers = [one.answer, other.answer];
  const answer: Answer =
    answers.find(({ kind }) => kind === "done") ??
    answers.find(({ kind }) => kind === "unknown") ??
    one.answer;
  const ends = [one, other].filter((each) => each.answer.kind === answer.kind);
  return {
    ...one,
    began: Math.min(one.began, other.began),
    ended: Math.min(...ends.map(({ ended }) => ended)),
    answer,
  };
}

function intervalsByKey(
  operations: readonly Operation[],
): Map<string, { readonly bucket: string; readonly intervals: Interval[] }> {
  const byKey = new Map<string, { bucket: string; intervals: Interval[] }>();
  const keys = new Map<string, Set<string>>();
  for (const { bucket, key, action, answer } of operations) {
    const known = keys.get(bucket) ?? new Set<string>();
    keys.set(bucket, known);
    if (action.kind !== "list" && action.kind !== "list-versions") known.add(key);
    if (answer.kind === "listed" || answer.kind === "versions") {
      for (const [listed] of answer.found) known.add(listed);
    }
  }
  for (const operation of operations) {
    const { bucket, id, began, ended } = operation;
    for (const [key, event] of eventsOf(operation, keys.get(bucket) ?? new Set())) {
      const name = `${bucket}/${key}`;
      const of = byKey.get(name) ?? { bucket, intervals: [] };
      byKey.set(name, of);
      of.intervals.push({ id, event, began, ended });
    }
  }
  return byKey;
}

/**
 * What got no answer and was seen by nobody may be taken for never done: mostly an order is then found at once. Only when there
 * is none are removals, then all of them taken in.
 */
function searched(model: KeyModel, intervals: readonly Interval[]): Verdict {
  const seenValues = new Set<string>();
  for (const { event } of intervals) {
    if (event.kind === "read" && event.answer.kind === "seen") seenValues.add(event.answer.value);
    if (event.kind === "versions") for (const { value } of event.found) seenValues.add(value ?? "");
  }
  const isUnseenPut = (one: Interval) => {
    return isUnheard(one) && one.event.kind === "put" && !seenValues.has(one.event.value);
  };
  const attempts = [
    intervals.filter((one) => !isUnseenPut(one) && !isRemoval(one)),
    intervals.filter((one) => !isUnseenPut(one)),
  ];
  for (const attempt of attempts) {
    const verdict = linearize(model, attempt);
    if (verdict.kind === "linearizable") return verdict;
  }
  return linearize(model, intervals);
}

function isRemoval(one: Interval): boolean {
  return isUnheard(one) && one.event.kind === "delete";
}

function isUnheard({ event }: Interval): boolean {
  return "answer" in event && event.answer.kind === "unknown";
}

/** A listing says something of every key it covers, of those that it leaves out as well. */
function* eventsOf(
  { key, action, answer }: Operation,
  keys: ReadonlySet<string>,
): Generator<readonly [key: string, event: Event]> {
  switch (action.kind) {
    case "put": {
      const { value, condition } = action;
      yield [key, { kind: "put", value, condition, answer }];
      return;
    }
    case "delete": {
      const { condition, versionId } = action;
      yield [key, { kind: "delete", condition, versionId, answer }];
      return;
    }
    case "read":
      // A read without an answer says nothing.
      if (answer.kind === "unknown") return;
      yield [key, { kind: "read", versionId: action.versionId, answer }];
      return;
    case "list": {
      if (answer.kind !== "listed") return;
      const found = new Map(answer.found);
      for (const one of keys) {
        if (!isWithin(one, action)) continue;
        const value = found.get(one);
        const seen: Answer = value === undefined ? { kind: "absent" } : { kind: "seen", value };
        yield [one, { kind: "read", versionId: undefined, answer: seen }];
      }
      return;
    }
    case "list-versions": {
      if (answer.kind !== "versions") return;
      const found = new Map<string, readonly SeenVersion[]>(answer.found);
      for (const one of keys) yield [one, { kind: "versions", found: found.get(one) ?? [] }];
      return;
    }
    case "abort":
      return;
  }
}

/** In UTF-8's order, as S3 lists. */
function isWithin(key: string, { from, to }: { from: string; to: string | undefined }): boolean {
  const bytes = Buffer.from(key);
  if (bytes.compare(Buffer.from(from)) < 0) return false;
  return to === undefined || bytes.compare(Buffer.from(to)) < 0;
}

/** After healing each key, and each acknowledged version that nobody removed, must have been read through each gateway. */
function unread(
  operations: readonly Operation[],
  { versionedBuckets }: HistoryTerms,
  { at, gateways }: { readonly at: number; readonly gateways: readonly string[] },
): readonly string[] {
  const read = new Set<string>();
  const removed = new Set<string>();
  for (const { bucket, key, gateway, began, action, answer } of operations) {
    if (action.kind === "read" && began >= at && answer.kind !== "unknown") {
      const isThere = answer.kind === "seen" ? "there" : "absent";
      read.add(JSON.stringify([gateway, bucket, key, action.versionId ?? "", isThere]));
      read.add(JSON.stringify([gateway, bucket, key, action.versionId ?? ""]));
    }
    if (action.kind === "delete" && action.versionId !== undefined) {
      if (answer.kind !== "refused") removed.add(JSON.stringify([bucket, key, action.versionId]));
    }
  }
  const missing: string[] = [];
  const keys = new Set<string>();
  for (const { bucket, key, action, answer } of operations) {
    if (action.kind !== "put" && action.kind !== "delete") continue;
    keys.add(JSON.stringify([bucket, key]));
    if (action.kind !== "put" || answer.kind !== "done") continue;
    const { versionId } = answer;
    if (versionId === undefined || !versionedBuckets.has(bucket)) continue;
    if (removed.has(JSON.stringify([bucket, key, versionId]))) continue;
    for (const gateway of gateways) {
      if (read.has(JSON.stringify([gateway, bucket, key, versionId, "there"]))) continue;
      missing.push(`${bucket}/${key}: version ${versionId} cannot be read through ${gateway}`);
    }
  }
  for (const name of keys) {
    const [bucket, key] = JSON.parse(name) as [string, string];
    for (const gateway of gateways) {
      if (read.has(JSON.stringify([gateway, bucket, key, ""]))) continue;
      missing.push(`${bucket}/${key}: cannot be read through ${gateway} after healing`);
    }
  }
  return missing;
}

function told(stuck: Interval | undefined, state: State): string {
  const versions = state.map(({ value }) => value ?? "marker").join(", ");
  const event =
    stuck === undefined ? "its operations" : `#${stuck.id} ${JSON.stringify(stuck.event)}`;
  return `${event} of a key that holds [${versions}]`;
}
