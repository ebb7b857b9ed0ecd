/**
 * What garbage collection asks the operator, and the answer: one key, so that the process that answers need not be the one that
 * sweeps. A confirmation is for as many writes as the question was about, and ends with the sweep that makes use of it.
 * Schema: proto/keeper.proto.
 */
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { RecordReader, RecordWriter } from "#metadata/record-wire.ts";

export const GARBAGE_QUESTION_KEY = Buffer.from("keeper/garbage-question");

export interface GarbageQuestion {
  readonly text: string;
  readonly askedMs: number;
  /** Writes that it would remove, their shards, and all writes that were seen. */
  readonly doomed: number;
  readonly shards: number;
  readonly writes: number;
  /** Some of the doomed, as BUCKET-ID/KEY, for the operator to judge by. */
  readonly examples: readonly string[];
  readonly isConfirmed: boolean;
}

const writer = new RecordWriter();

export function encodeGarbageQuestion(question: GarbageQuestion): Buffer {
  writer.start();
  writer.string(2, question.text);
  writer.uint(3, question.askedMs);
  writer.uint(4, question.doomed);
  writer.uint(5, question.shards);
  writer.uint(6, question.writes);
  for (const example of question.examples) writer.present(7, example);
  writer.bool(8, question.isConfirmed);
  return writer.finish();
}

export function decodeGarbageQuestion(value: Uint8Array): GarbageQuestion {
  const reader = RecordReader.open("garbage question", value);
  let text = "";
  let askedMs = 0;
  let doomed = 0;
  let shards = 0;
  let writes = 0;
  const examples: string[] = [];
  let isConfirmed = false;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) text = reader.string();
    else if (field === 3) askedMs = reader.uint();
    else if (field === 4) doomed = reader.uint();
    else if (field === 5) shards = reader.uint();
    else if (field === 6) writes = reader.uint();
    else if (field === 7) examples.push(reader.string());
    else if (field === 8) isConfirmed = reader.bool();
    else reader.skip();
  }
  return { text, askedMs, doomed, shards, writes, examples, isConfirmed };
}

/** The operator has looked. Answers what was confirmed; undefined: nothing is asked, or no longer that. */
export async function confirmGarbage(
  metadata: MetadataStore,
  signal?: AbortSignal,
): Promise<GarbageQuestion | undefined> {
  const key = GARBAGE_QUESTION_KEY;
  const found = await metadata.get(key, signal);
  if (!found) return undefined;
  const question = { ...decodeGarbageQuestion(found.value), isConfirmed: true };
  const put = [{ key, value: encodeGarbageQuestion(question) }];
  const expect = [{ key, revision: found.revision }];
  const outcome = await metadata.commit({ expect, put, remove: [] }, signal);
  return outcome.kind === "committed" ? question : undefined;
}
