/** How objects are kept when the operator has not said: by the number of folders. */
import { type CodecShape, parseCodecName, shardCount } from "#codec/storage-class.ts";
import { EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";

/** By number of folders; the last row is for all more. Any two may be lost from three folders on. */
const BY_FOLDERS = ["replica-1", "replica-2", "replica-3", "ec-2+2", "ec-3+2", "ec-4+2"] as const;

export interface ChosenCodec {
  readonly name: string;
  readonly mayLose: number;
  /** Folders it takes. */
  readonly width: number;
}

export function chooseCodec(wanted: string, folders: number): ChosenCodec {
  const name =
    wanted === "auto"
      ? (BY_FOLDERS[Math.min(folders, BY_FOLDERS.length) - 1] ?? "replica-1")
      : wanted;
  const shape = parseCodecName(name);
  if (shape === undefined) {
    throw new OperatorFault(
      `Cannot keep objects as "${name}": write replica-N or ec-K+M, with K up to 16 and M up to 8`,
      EXIT_CONFIGURATION,
    );
  }
  if (shardCount(shape) > folders) {
    throw new OperatorFault(
      `Cannot keep objects as ${name} on ${folders} ${folders === 1 ? "folder" : "folders"}: it takes ${shardCount(shape)}`,
      EXIT_CONFIGURATION,
    );
  }
  return { name, mayLose: parityOf(shape), width: shardCount(shape) };
}

function parityOf(shape: CodecShape): number {
  return shape.kind === "replica" ? shape.copies - 1 : shape.m;
}
