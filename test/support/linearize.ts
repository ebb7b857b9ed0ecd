/**
 * Whether the events of one key can be put in one order that explains every answer, each at an instant between its beginning
 * and its end (Wing and Gong's search with Lowe's memory of what was tried). One without an answer may be at any
 * later instant, or never.
 */
import { EMPTY, type Event, type KeyModel, type State } from "./key-model.ts";

export interface Interval {
  readonly id: number;
  readonly event: Event;
  readonly began: number;
  /** Infinity: there was no answer. */
  readonly ended: number;
}

export type Verdict =
  | { readonly kind: "linearizable" }
  /** Of the best attempt: what could be explained by no order, and the state it met. */
  | { readonly kind: "impossible"; readonly stuck: Interval | undefined; readonly state: State }
  /** Too much to search. */
  | { readonly kind: "undecided" };

/** About two seconds of search. */
const STEPS_MAX = 300_000;

interface Node {
  readonly interval: Interval;
  readonly bit: number;
  /** The end of the interval whose beginning is `begin`. */
  readonly begin: Node | undefined;
  end: Node | undefined;
  before: Node | undefined;
  after: Node | undefined;
}

interface Taken {
  readonly node: Node;
  readonly state: State;
}

export function linearize(
  model: KeyModel,
  intervals: readonly Interval[],
  stepsMax = STEPS_MAX,
): Verdict {
  const head = nodesOf(intervals);
  const done = new Uint32Array(Math.ceil(intervals.length / 32));
  const tried = new Set<string>();
  const taken: Taken[] = [];
  let left = intervals.filter(({ ended }) => ended !== Number.POSITIVE_INFINITY).length;
  let state: State = EMPTY;
  let node = head.after;
  let fewestLeft = Number.POSITIVE_INFINITY;
  let best: { stuck: Interval | undefined; state: State } = { stuck: undefined, state };
  for (let steps = 0; left > 0; steps++) {
    if (steps > stepsMax) return { kind: "undecided" };
    if (node !== undefined && node.begin === undefined) {
      const next = model.apply(state, node.interval.event);
      if (next !== undefined) {
        flip(done, node.bit);
        const key = `${done.join()}|${JSON.stringify(next)}`;
        if (!tried.has(key)) {
          tried.add(key);
          taken.push({ node, state });
          state = next;
          if (node.end !== undefined) left -= 1;
          lift(node);
          node = head.after;
          continue;
        }
        flip(done, node.bit);
      }
      node = node.after;
      continue;
    }
    // An answer was given before anything that is left could explain it.
    if (left < fewestLeft) {
      fewestLeft = left;
      best = { stuck: node?.interval, state };
    }
    const last = taken.pop();
    if (last === undefined) return { kind: "impossible", ...best };
    putBack(last.node);
    if (last.node.end !== undefined) left += 1;
    flip(done, last.node.bit);
    state = last.state;
    node = last.node.after;
  }
  return { kind: "linearizable" };
}

/** Beginnings and ends in order of time, behind a first node that stands for nothing. */
function nodesOf(intervals: readonly Interval[]): { after: Node | undefined } {
  const points: { at: number; node: Node }[] = [];
  intervals.forEach((interval, bit) => {
    const links = { before: undefined, after: undefined };
    const begin: Node = { interval, bit, begin: undefined, end: undefined, ...links };
    points.push({ at: interval.began, node: begin });
    if (interval.ended === Number.POSITIVE_INFINITY) return;
    begin.end = { interval, bit, begin, end: undefined, ...links };
    points.push({ at: interval.ended, node: begin.end });
  });
  points.sort((one, other) => one.at - other.at);
  const head: Node = {
    interval: { id: -1, event: { kind: "versions", found: [] }, began: 0, ended: 0 },
    bit: -1,
    begin: undefined,
    end: undefined,
    before: undefined,
    after: undefined,
  };
  let last = head;
  for (const { node } of points) {
    last.after = node;
    node.before = last;
    last = node;
  }
  return head;
}

function lift(node: Node): void {
  for (const one of [node, node.end]) {
    if (one === undefined) continue;
    if (one.before) one.before.after = one.after;
    if (one.after) one.after.before = one.before;
  }
}

/** In the reverse order of `lift`, so that the links which a node kept are right again. */
function putBack(node: Node): void {
  for (const one of [node.end, node]) {
    if (one === undefined) continue;
    if (one.before) one.before.after = one;
    if (one.after) one.after.before = one;
  }
}

function flip(bits: Uint32Array, bit: number): void {
  bits[bit >>> 5] = (bits[bit >>> 5] ?? 0) ^ (1 << (bit & 31));
}
