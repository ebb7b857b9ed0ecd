/** The object layer over an index and a data plane: puts its parts together and says which of them answers what. */
import type { Clock } from "#lib/clock.ts";
import type { Random } from "#lib/random.ts";
import { parseIdBytes } from "#metadata/ids.ts";
import type { MetadataStore, Session } from "#metadata/metadata-store.ts";
import { BucketRemoval } from "#objects/bucket-removal.ts";
import { IndexBuckets } from "#objects/buckets.ts";
import { Commits } from "#objects/commits.ts";
import { Completion } from "#objects/completion.ts";
import { Copies } from "#objects/copy.ts";
import type { DataPlane } from "#objects/data-plane.ts";
import { listObjects, listUploads } from "#objects/listing.ts";
import { Manifests } from "#objects/manifests.ts";
import { Multipart } from "#objects/multipart.ts";
import type { ObjectLayer, Uploads } from "#objects/object-layer.ts";
import { Objects } from "#objects/objects.ts";
import { PartCopies } from "#objects/part-copy.ts";
import { listParts } from "#objects/part-listing.ts";
import { References } from "#objects/references.ts";
import { UploadEndings } from "#objects/upload-endings.ts";
import { listObjectVersions } from "#objects/version-listing.ts";
import { VersionWrites } from "#objects/version-writes.ts";
import { Versions } from "#objects/versions.ts";

export interface LayerParts {
  readonly store: MetadataStore;
  readonly data: DataPlane;
  /** This process's right to commit; the data plane's is the same one. */
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
  /** Whether removals shall leave no trash, which takes more of the index for its retention than what was removed. */
  readonly room?: { readonly isTight: boolean } | undefined;
  /** Aborted when the process ends: nothing then waits for the index any more. */
  readonly lifetime: AbortSignal;
}

/** The object layer, and what the keeper needs of it. */
export interface IndexLayer extends ObjectLayer {
  readonly references: References;
  readonly manifests: Manifests;
  readonly endings: UploadEndings;
}

export function createObjectLayer(parts: LayerParts): IndexLayer {
  const { store, data } = parts;
  const commits = new Commits({ ...parts, onMoved: () => data.replan() });
  const manifests = new Manifests(data);
  const endings = new UploadEndings({ ...parts, commits });
  const removal = new BucketRemoval({ ...parts, commits, endings });
  const shared = { ...parts, commits, manifests, endings, removal };
  const writes = new VersionWrites(shared);
  const versions = new Versions({ ...shared, writes });
  const objects = new Objects({ ...shared, writes });
  const copies = new Copies({ ...shared, objects, versions, writes });
  const multipart = new Multipart(shared);
  const completion = new Completion({ ...shared, multipart, writes });
  const partCopies = new PartCopies({ ...shared, objects, versions, multipart });
  const uploads: Uploads = {
    create: async (request) => multipart.create(request),
    find: async (request) => multipart.find(request),
    putPart: async (request) => multipart.putPart(request),
    copyPart: async (request) => partCopies.copy(request),
    listParts: async (request) => listParts(store, request),
    complete: async (request) => completion.complete(request),
    abort: async ({ bucket, key, uploadId, signal }) => {
      const bytes = parseIdBytes(uploadId);
      if (bytes === undefined) return "no-such-upload";
      return endings.abort({ bucketId: bucket.id, key, uploadId: bytes }, signal);
    },
    list: async (request) => listUploads(store, request),
  };
  return {
    buckets: new IndexBuckets(shared),
    find: async (request) => versions.find(request),
    read: (request) => objects.read(request),
    readSmall: async (request) => objects.readSmall(request),
    parts: async (request) => objects.parts(request),
    put: async (request) => objects.put(request),
    copy: async (request) => copies.copy(request),
    remove: async (request) => versions.remove(request),
    update: async (request) => versions.update(request),
    list: async (request) => listObjects(store, request),
    listVersions: async (request) => listObjectVersions(store, request),
    uploads,
    references: new References(shared),
    manifests,
    endings,
  };
}
