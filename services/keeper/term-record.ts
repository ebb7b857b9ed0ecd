/** The term of removals as the index has it. Schema: proto/keeper.proto. */
import type { Entry } from "#metadata/metadata-store.ts";
import { RecordReader, RecordWriter } from "#metadata/record-wire.ts";

export const TERM_KEY = Buffer.from("keeper/term");
/** A later one that a disk was found to know: until the operator has spoken. */
export const TERM_MET_KEY = Buffer.from("keeper/term-met");

export interface Term {
  readonly term: number;
  /** Of its record. */
  readonly revision: number;
}

const writer = new RecordWriter();

export function encodeTerm(term: number): Buffer {
  writer.start();
  writer.uint(2, term);
  return writer.finish();
}

export function decodeTerm(value: Uint8Array): number {
  const reader = RecordReader.open("removal term", value);
  let term = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) term = reader.uint();
    else reader.skip();
  }
  return term;
}

export function termOf(entry: Entry | undefined): Term {
  return { term: entry ? decodeTerm(entry.value) : 0, revision: entry?.revision ?? 0 };
}
