/**
 * Records that more than the object layer reads: trash, and the manifests of objects in many parts.
 * The keeper lists trash (keys.ts: TRASH, trashUntil, trashOf), and when the retention has passed deletes what a
 * record names and then removes its key, by a commit that compares the key's revision.
 */
import {
  type ExtentRecord,
  type PartRecord,
  readExtent,
  readPart,
  writeExtent,
  writePart,
} from "#metadata/record-fields.ts";
import { RecordReader, RecordWriter } from "#metadata/record-wire.ts";

/** Bytes that nothing shows any more. */
export interface TrashRecord {
  readonly trashedMs: number;
  readonly extents: readonly ExtentRecord[];
  /** Where the list of an object's parts lies: the extents of its parts go first, the manifest itself last. */
  readonly manifest: ExtentRecord | undefined;
}

const writer = new RecordWriter();

export function encodeTrash(trash: TrashRecord): Buffer {
  writer.start();
  writer.uint(2, trash.trashedMs);
  for (const extent of trash.extents) writeExtent(writer, 3, extent);
  if (trash.manifest !== undefined) writeExtent(writer, 4, trash.manifest);
  return writer.finish();
}

export function decodeTrash(value: Uint8Array): TrashRecord {
  const reader = RecordReader.open("trash", value);
  let trashedMs = 0;
  const extents: ExtentRecord[] = [];
  let manifest: ExtentRecord | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    switch (field) {
      case 2:
        trashedMs = reader.uint();
        break;
      case 3:
        extents.push(readExtent(reader.message()));
        break;
      case 4:
        manifest = readExtent(reader.message());
        break;
      default:
        reader.skip();
    }
  }
  return { trashedMs, extents, manifest };
}

/** The content of a manifest extent. */
export function encodeManifest(parts: readonly PartRecord[]): Buffer {
  writer.start();
  for (const part of parts) writePart(writer, 2, part);
  return writer.finish();
}

export function decodeManifest(value: Uint8Array): readonly PartRecord[] {
  const reader = RecordReader.open("manifest", value);
  const parts: PartRecord[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) parts.push(readPart(reader.message()));
    else reader.skip();
  }
  return parts;
}
