/**
 * The lists of parts of objects that were uploaded in parts. A short list stands in the object's record; a longer one
 * is written to the data plane, once and for all, and the record says where: the index stays small (DESIGN §4).
 */
import { asBuffer } from "#metadata/keys.ts";
import type { ExtentRecord, PartRecord } from "#metadata/record-fields.ts";
import type { VersionRecord } from "#metadata/record-version.ts";
import { decodeManifest, encodeManifest, type TrashRecord } from "#metadata/records.ts";
import { BytesBody } from "#objects/bodies.ts";
import type { DataPlane, ExtentOwner, WrittenExtents } from "#objects/data-plane.ts";
import type { Extent } from "#objects/model.ts";

/** Longest list in a record. */
export const INLINE_MANIFEST_BYTES_MAX = 8 * 1024;
/** Lists kept decoded: a download in ranges reads its list once. 10,000 parts take about 2 MiB. */
const DECODED_MAX = 8;

interface Decoded {
  readonly parts: readonly PartRecord[];
  /** Of the parts' extents, as hex; made when first asked for. */
  writeIds: ReadonlySet<string> | undefined;
}

export interface PlacedParts {
  readonly parts: readonly PartRecord[];
  readonly manifest: Extent | undefined;
  /** Of the list itself, when it was written. */
  readonly written: WrittenExtents | undefined;
}

export class Manifests {
  readonly #data: DataPlane;
  /** By writeId, which names one content for ever. In order of use. */
  readonly #decoded = new Map<string, Decoded>();

  constructor(data: DataPlane) {
    this.#data = data;
  }

  /** Where the list is to stand: here, or in an extent of its own. */
  async place(request: {
    parts: readonly PartRecord[];
    owner: ExtentOwner;
    storageClass: string;
    signal: AbortSignal;
  }): Promise<PlacedParts> {
    const { parts, owner, storageClass, signal } = request;
    const bytes = encodeManifest(parts);
    if (bytes.length <= INLINE_MANIFEST_BYTES_MAX) {
      return { parts, manifest: undefined, written: undefined };
    }
    const body = new BytesBody(bytes);
    const describe = () => Buffer.from(`manifest of ${parts.length} parts`);
    const written = await this.#data.write({ body, owner, storageClass, describe, signal });
    return { parts: [], manifest: written.extents[0], written };
  }

  /** Throws when the list cannot be read, which is never the same as an empty one. */
  async partsOf(
    version: Pick<VersionRecord, "parts" | "manifest">,
    signal: AbortSignal,
  ): Promise<readonly PartRecord[]> {
    if (version.manifest === undefined) return version.parts;
    return (await this.#load(version.manifest, signal)).parts;
  }

  /** Whether a manifest names a write. Asked for each of its 10,000 parts by a sweep, so not by going through them. */
  async names(manifest: Extent, writeId: Uint8Array, signal: AbortSignal): Promise<boolean> {
    const decoded = await this.#load(manifest, signal);
    decoded.writeIds ??= new Set(
      decoded.parts.flatMap(({ extents }) => extents.map((extent) => nameOf(extent.writeId))),
    );
    return decoded.writeIds.has(nameOf(writeId));
  }

  /** All extents that a trash record stands for: those of an object's parts first, its manifest last. */
  async extentsOfTrash(trash: TrashRecord, signal: AbortSignal): Promise<readonly Extent[]> {
    if (trash.manifest === undefined) return trash.extents;
    const { parts } = await this.#load(trash.manifest, signal);
    return [...trash.extents, ...parts.flatMap(({ extents }) => extents), trash.manifest];
  }

  async #load(extent: ExtentRecord, signal: AbortSignal): Promise<Decoded> {
    const name = nameOf(extent.writeId);
    const known = this.#decoded.get(name);
    this.#decoded.delete(name);
    const decoded = known ?? {
      parts: decodeManifest(await this.#readAll(extent, signal)),
      writeIds: undefined,
    };
    this.#decoded.set(name, decoded);
    const [oldest] = this.#decoded.keys();
    if (this.#decoded.size > DECODED_MAX && oldest !== undefined) this.#decoded.delete(oldest);
    return decoded;
  }

  async #readAll(extent: ExtentRecord, signal: AbortSignal): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    const range = { extents: [extent], start: 0, end: extent.size, signal };
    // Pieces may be the reader's memory, valid for one turn only.
    for await (const piece of this.#data.read(range)) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  }
}

function nameOf(writeId: Uint8Array): string {
  return asBuffer(writeId).toString("hex");
}
