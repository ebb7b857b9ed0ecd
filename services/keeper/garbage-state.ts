/** What garbage collection remembers between sweeps. Schema: proto/keeper.proto. Losing it costs time only. */
import { RecordReader, RecordWriter } from "#metadata/record-wire.ts";
import type { SessionState } from "#metadata/sessions.ts";

export const GARBAGE_KEY = Buffer.from("keeper/garbage");

/** A record of a few hundred kilobytes at most; what is forgotten is asked about again. */
const SETTLED_MAX = 10_000;

export interface GarbageState {
  readonly sweptMs: number;
  readonly sweptFullMs: number;
  readonly settled: ReadonlySet<string>;
  readonly seen: readonly SessionState[];
}

const writer = new RecordWriter();

export function encodeGarbageState(state: GarbageState): Buffer {
  writer.start();
  writer.uint(2, state.sweptMs);
  writer.uint(3, state.sweptFullMs);
  for (const id of [...state.settled].slice(-SETTLED_MAX)) writer.present(4, id);
  for (const { id, lowWater } of state.seen) {
    const begun = writer.begin(5);
    writer.string(1, id);
    writer.uint(2, lowWater);
    writer.end(begun);
  }
  return writer.finish();
}

export function decodeGarbageState(value: Uint8Array): GarbageState {
  const reader = RecordReader.open("garbage state", value);
  let sweptMs = 0;
  let sweptFullMs = 0;
  const settled = new Set<string>();
  const seen: SessionState[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        sweptMs = reader.uint();
        break;
      case 3:
        sweptFullMs = reader.uint();
        break;
      case 4:
        settled.add(reader.string());
        break;
      case 5:
        seen.push(decodeSeen(reader.message()));
        break;
      default:
        reader.skip();
    }
  }
  return { sweptMs, sweptFullMs, settled, seen };
}

function decodeSeen(reader: RecordReader): SessionState {
  let id = "";
  let lowWater = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) id = reader.string();
    else if (field === 2) lowWater = reader.uint();
    else reader.skip();
  }
  return { id, lowWater };
}
