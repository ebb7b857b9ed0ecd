/** One S3 client: sends requests to gateways and records what it asked and what it was answered. */
import { hash } from "node:crypto";
import { UnreadableRecord } from "#metadata/record-wire.ts";
import { ExtentGone } from "#objects/data-plane.ts";
import type { IndexLayer } from "#objects/layer.ts";
import type { Bucket, KeyQuestion, ObjectBody, ObjectVersion, Upload } from "#objects/model.ts";
import type { ObjectLayer, Precondition } from "#objects/object-layer.ts";
import { ATTRIBUTES } from "#objects/testing/open-layer.ts";
import { checksumOf } from "#objects/testing/uploads.ts";
import type { Answer, Condition, History, SeenVersion } from "../support/history.ts";
import type { Machine } from "./gateway.ts";
import { type Network, NoAnswer } from "./network.ts";
import type { Value, Values } from "./values.ts";
import { Process, type World } from "./world.ts";

export interface ClientParts {
  readonly world: World;
  readonly network: Network;
  readonly history: History;
  readonly values: Values;
}

/** Where a request goes. */
export interface Target {
  readonly gateway: Machine;
  readonly bucket: Bucket;
  readonly key: string;
}

export interface SentPart {
  readonly number: number;
  readonly value: Value;
}

/** How a body comes: in pieces, with pauses; it may break off before its end. */
export interface Sending {
  readonly pieceBytes: number;
  readonly pauseMs: number;
  readonly breaksOff: boolean;
}

const DEADLINE_MS = 60_000;
const AT_ONCE: Sending = { pieceBytes: 1 << 20, pauseMs: 0, breaksOff: false };

/** The condition did not hold: what the gateway answers with 412. */
class Refused extends Error {}
class BodyBroken extends Error {}
class NotOpen extends Error {}

export class Client {
  readonly name: string;
  readonly #parts: ClientParts;
  readonly #process: Process;

  constructor(name: string, parts: ClientParts) {
    this.name = name;
    this.#parts = parts;
    this.#process = new Process(parts.world, name);
  }

  /** Answers the version id when it was stored. */
  async put(
    target: Target,
    value: Value,
    options: { condition?: Condition | undefined; sending?: Sending } = {},
  ): Promise<Answer> {
    const { condition, sending = AT_ONCE } = options;
    const { bucket, key } = target;
    const end = this.#begin(target, { kind: "put", value: value.name, condition });
    const body = new Body(value.bytes, sending, target.gateway.process);
    return this.#answered(end, target, "put", async (layer, signal) => {
      const precondition = this.#preconditionOf(condition);
      const given = { bucket, key, body, attributes: ATTRIBUTES, signal };
      const stored = await layer.put({ ...given, ...(precondition && { precondition }) });
      return stored.kind === "stored" ? this.#stored(stored.version, value) : { kind: "nothing" };
    });
  }

  async remove(
    target: Target,
    options: { condition?: Condition | undefined; versionId?: string } = {},
  ): Promise<Answer> {
    const { condition, versionId } = options;
    const { key } = target;
    const end = this.#begin(target, { kind: "delete", condition, versionId });
    return this.#answered(end, target, "delete", async (layer, signal) => {
      const bucket = await bucketAhead(layer, { ...target, isToChange: true }, signal);
      const precondition = this.#preconditionOf(condition);
      const removed = await layer.remove({
        bucket,
        key,
        versionId,
        ownerId: "owner",
        signal,
        ...(precondition && { precondition }),
      });
      if (removed.kind !== "removed") return { kind: "nothing" };
      return { kind: "done", versionId: removed.versionId };
    });
  }

  /** All bytes, some of them, or none (HEAD). */
  async read(
    target: Target,
    { versionId, part }: { versionId?: string | undefined; part: "whole" | "range" | "none" },
  ): Promise<Answer> {
    const { key } = target;
    const end = this.#begin(target, { kind: "read", versionId });
    return this.#answered(end, target, "read", async (layer, signal) => {
      const bucket = await bucketAhead(layer, { ...target, isToChange: false }, signal);
      const version = await layer.find({ bucket, key, versionId, signal });
      if (version === undefined || version.isDeleteMarker) return { kind: "absent" };
      const value = this.#parts.values.byEtag(version.etag);
      if (value === undefined) return wrong(`nobody wrote what has ETag ${version.etag}`);
      if (part !== "none") {
        const given = { bucket, version, value, part, signal };
        const lie = await this.#compare(layer, given).catch(async (error: unknown) => {
          // Bytes may go when their version has gone, and no sooner (I7).
          if (!(error instanceof ExtentGone)) throw error;
          const now = await layer.find({ bucket, key, versionId: version.versionId, signal });
          if (now?.sequence !== version.sequence || now.etag !== version.etag) throw error;
          return `the bytes of ${value.name} are nowhere, and it is still named`;
        });
        if (lie !== undefined) return wrong(lie);
      }
      return { kind: "seen", value: value.name, versionId: version.versionId };
    });
  }

  /** One page. */
  async list(
    target: Omit<Target, "key">,
    { after, limit }: { after: string; limit: number },
  ): Promise<{ isTruncated: boolean; last: string } | undefined> {
    const { world, network, history, values } = this.#parts;
    const { gateway, bucket } = target;
    const asked = { client: this.name, gateway: gateway.name, bucket: bucket.name, key: "" };
    const from = after === "" ? "" : `${after}\0`;
    try {
      return await this.#request({ world, network }, gateway, "list", async (layer, signal) => {
        const begin = history.now();
        const page = await layer.list({ bucket, prefix: "", delimiter: "", after, limit, signal });
        const items = page.entries.flatMap((entry) => (entry.kind === "item" ? [entry.item] : []));
        const last = items.at(-1)?.key ?? "";
        const to = page.isTruncated ? `${last}\0` : undefined;
        const found = items.map(({ key, etag }) => [key, values.byEtag(etag)?.name] as const);
        const end = history.begin({ ...asked, action: { kind: "list", from, to } }, begin);
        const strange = items.find(({ etag }) => values.byEtag(etag) === undefined);
        if (strange) end(wrong(`${strange.key} is listed with ETag ${strange.etag}`));
        else end({ kind: "listed", found: found.map(([key, name]) => [key, name ?? ""]) });
        return { isTruncated: page.isTruncated, last };
      });
    } catch (error) {
      this.#requireKnown(error);
      return undefined;
    }
  }

  async listVersions(target: Omit<Target, "key">): Promise<Answer> {
    const { values } = this.#parts;
    const { bucket } = target;
    const end = this.#begin({ ...target, key: "" }, { kind: "list-versions" });
    return this.#answered(end, target, "list-versions", async (layer, signal) => {
      const found = new Map<string, SeenVersion[]>();
      const request = { bucket, prefix: "", delimiter: "", after: "", limit: 1000, signal };
      const page = await layer.listVersions({ ...request, afterVersionId: undefined });
      if (page.isTruncated) return { kind: "nothing" };
      for (const entry of page.entries) {
        if (entry.kind !== "item") continue;
        const { key, versionId, isDeleteMarker, etag } = entry.item.version;
        const value = isDeleteMarker ? undefined : values.byEtag(etag);
        if (!isDeleteMarker && !value) return wrong(`${key} is listed with ETag ${etag}`);
        const seen = { value: value?.name, versionId };
        const versions = found.get(key);
        if (versions) versions.push(seen);
        else found.set(key, [seen]);
      }
      return { kind: "versions", found: [...found] };
    });
  }

  async copy(
    { gateway, bucket, key }: Target,
    source: { bucket: Bucket; key: string },
  ): Promise<Answer> {
    const { world, network, history, values } = this.#parts;
    let end: ((answer: Answer) => void) | undefined;
    try {
      const answer = await this.#request(
        { world, network },
        gateway,
        "copy",
        async (layer, signal): Promise<Answer> => {
          const endRead = this.#begin({ gateway, ...source }, { kind: "read" });
          const version = await layer.find({ ...source, versionId: undefined, signal });
          const isThere = version !== undefined && !version.isDeleteMarker;
          const value = isThere ? values.byEtag(version.etag) : undefined;
          if (!isThere) {
            endRead({ kind: "absent" });
            return { kind: "nothing" };
          }
          if (!value) {
            endRead(wrong(`nobody wrote what has ETag ${version.etag}`));
            return { kind: "nothing" };
          }
          endRead({ kind: "seen", value: value.name, versionId: version.versionId });
          end = history.begin({
            client: this.name,
            gateway: gateway.name,
            bucket: bucket.name,
            key,
            action: { kind: "put", value: value.name },
          });
          const copied = await layer.copy({
            source: { bucket: source.bucket, version },
            target: { bucket, key },
            changes: {
              headers: undefined,
              metadata: undefined,
              tags: undefined,
              ownerId: "owner",
              acl: "private",
              storageClass: "STANDARD",
              checksumAlgorithm: undefined,
            },
            signal,
          });
          return copied.kind === "stored"
            ? this.#stored(copied.version, value)
            : { kind: "nothing" };
        },
      );
      end?.(answer);
      return answer;
    } catch (error) {
      const answer = this.#answerTo(error);
      if (end) end(answer);
      else this.#requireKnown(error);
      return answer;
    }
  }

  async createUpload({ gateway, bucket, key }: Target): Promise<Upload | undefined> {
    return this.#maybe(gateway, "create-upload", async (layer, signal) => {
      const created = await layer.uploads.create({
        bucket,
        key,
        initiatorId: "owner",
        attributes: ATTRIBUTES,
        checksumAlgorithm: undefined,
        checksumType: undefined,
        signal,
      });
      return created.kind === "created" ? created.upload : undefined;
    });
  }

  /** Answers whether the part is known to be stored. */
  async putPart(
    { gateway, bucket }: Omit<Target, "key">,
    upload: Upload,
    { number, value }: SentPart,
  ): Promise<boolean> {
    const body = new Body(value.bytes, AT_ONCE, gateway.process);
    const stored = await this.#maybe(gateway, "put-part", async (layer, signal) => {
      return layer.uploads.putPart({ bucket, upload, number, body, signal });
    });
    return stored?.kind === "stored";
  }

  async complete(
    target: Target,
    upload: Upload,
    { parts, condition }: { parts: readonly SentPart[]; condition?: Condition | undefined },
  ): Promise<Answer> {
    const { values } = this.#parts;
    const { bucket, key } = target;
    const value = values.joined(parts.map((part) => part.value));
    const { uploadId } = upload;
    const end = this.#begin(target, { kind: "put", value: value.name, condition, uploadId });
    return this.#answered(end, target, "complete", async (layer, signal) => {
      const precondition = this.#preconditionOf(condition);
      const completed = await layer.uploads.complete({
        bucket,
        key,
        uploadId,
        parts: parts.map((part) => {
          return { number: part.number, etag: values.etagOf(part.value), checksum: undefined };
        }),
        expected: { size: value.bytes.length },
        signal,
        ...(precondition && { precondition }),
      });
      return completed.kind === "stored"
        ? this.#stored(completed.version, value)
        : { kind: "nothing" };
    });
  }

  async abort(target: Target, upload: Upload): Promise<Answer> {
    const { bucket, key } = target;
    const { uploadId } = upload;
    const end = this.#begin(target, { kind: "abort", uploadId });
    return this.#answered(end, target, "abort", async (layer, signal) => {
      const aborted = await layer.uploads.abort({ bucket, key, uploadId, signal });
      return aborted === "aborted" ? { kind: "done" } : { kind: "nothing" };
    });
  }

  async #compare(
    layer: IndexLayer,
    {
      bucket,
      version,
      value,
      part,
      signal,
    }: {
      bucket: Bucket;
      version: ObjectVersion;
      value: Value;
      part: "whole" | "range";
      signal: AbortSignal;
    },
  ): Promise<string | undefined> {
    const { size } = version;
    if (size !== value.bytes.length) return `${value.name} has ${size} bytes`;
    const { world } = this.#parts;
    const start = part === "whole" ? 0 : Math.floor(world.between(0, size));
    const end = part === "whole" ? size : Math.floor(world.between(start, size)) + 1;
    const range = { bucket, version, start, end: Math.min(end, size), signal };
    const small = world.chance(0.5) ? await layer.readSmall(range) : undefined;
    const pieces: Buffer[] = [];
    if (small) pieces.push(...small.map((piece) => Buffer.from(piece)));
    else for await (const piece of layer.read(range)) pieces.push(Buffer.from(piece));
    const expected = value.bytes.subarray(range.start, range.end);
    return Buffer.concat(pieces).equals(expected)
      ? undefined
      : `bytes ${range.start}–${range.end} of ${value.name} are others`;
  }

  #stored(version: ObjectVersion, value: Value): Answer {
    const stored = this.#parts.values.byEtag(version.etag);
    if (stored !== value) return wrong(`${value.name} was stored as ETag ${version.etag}`);
    return { kind: "done", versionId: version.versionId };
  }

  #preconditionOf(condition: Condition | undefined): Precondition | undefined {
    if (condition === undefined) return undefined;
    return (current) => {
      const value = current && this.#parts.values.byEtag(current.etag)?.name;
      const holds =
        condition.kind === "if-none-match" ? current === undefined : value === condition.value;
      if (!holds) throw new Refused();
    };
  }

  #begin(target: Target, action: Parameters<History["begin"]>[0]["action"]) {
    const { gateway, bucket, key } = target;
    return this.#parts.history.begin({
      client: this.name,
      gateway: gateway.name,
      bucket: bucket.name,
      key,
      action,
    });
  }

  async #answered(
    end: (answer: Answer) => void,
    { gateway }: { readonly gateway: Machine },
    label: string,
    work: (layer: IndexLayer, signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> {
    let answer: Answer;
    try {
      answer = await this.#request(this.#parts, gateway, label, work);
    } catch (error) {
      answer = this.#answerTo(error);
    }
    end(answer);
    return answer;
  }

  /** What is no matter of the history: undefined when there is no answer. */
  async #maybe<T>(
    gateway: Machine,
    label: string,
    work: (layer: IndexLayer, signal: AbortSignal) => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await this.#request(this.#parts, gateway, label, work);
    } catch (error) {
      this.#requireKnown(error);
      return undefined;
    }
  }

  async #request<T>(
    { network }: Pick<ClientParts, "world" | "network">,
    gateway: Machine,
    label: string,
    work: (layer: IndexLayer, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const closed = new AbortController();
    const { process } = gateway;
    try {
      return await network.call({
        from: this.#process,
        to: () => process,
        label: `${label} ${gateway.name}`,
        deadlineMs: DEADLINE_MS,
        isOnce: true,
        handle: async () => {
          if (gateway.layer === undefined || gateway.process !== process) throw new NotOpen();
          return work(gateway.layer, closed.signal);
        },
      });
    } catch (error) {
      // The connection goes with whoever waited for it.
      process.after(network.delay(), "connection closed", () => closed.abort());
      throw error;
    }
  }

  #answerTo(error: unknown): Answer {
    if (error instanceof Refused) return { kind: "refused" };
    if (error instanceof NotOpen || error instanceof BodyBroken) return { kind: "nothing" };
    if (error instanceof NoAnswer && error.isHarmless) return { kind: "nothing" };
    const fault = faultIn(error);
    if (fault !== undefined) return wrong(fault);
    return { kind: "unknown" };
  }

  #requireKnown(error: unknown): void {
    const fault = faultIn(error);
    if (fault === undefined) return;
    const asked = { client: this.name, gateway: "", bucket: "", key: "" };
    this.#parts.history.begin({ ...asked, action: { kind: "read" } })(wrong(fault));
  }
}

/** Errors that no fault of the world explains. */
function faultIn(error: unknown): string | undefined {
  const isOurs =
    error instanceof TypeError ||
    error instanceof RangeError ||
    error instanceof ReferenceError ||
    error instanceof UnreadableRecord;
  return isOurs ? (error.stack ?? error.message) : undefined;
}

function wrong(what: string): Answer {
  return { kind: "wrong", what };
}

class Body implements ObjectBody {
  readonly size: number;
  readonly #bytes: Buffer;
  readonly #sending: Sending;
  readonly #process: Process;

  constructor(bytes: Buffer, sending: Sending, process: Process) {
    this.size = bytes.length;
    this.#bytes = bytes;
    this.#sending = sending;
    this.#process = process;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    const { pieceBytes, pauseMs, breaksOff } = this.#sending;
    for (let at = 0; at < this.size; at += pieceBytes) {
      if (breaksOff && at >= this.size / 2) throw new BodyBroken();
      if (pauseMs > 0) await this.#process.clock.sleep(pauseMs);
      yield this.#bytes.subarray(at, at + pieceBytes);
    }
    if (breaksOff) throw new BodyBroken();
  }

  digests(): ReturnType<ObjectBody["digests"]> {
    const value = checksumOf("CRC64NVME", this.#bytes);
    return {
      md5: hash("md5", this.#bytes, "buffer"),
      checksum: { algorithm: "CRC64NVME", type: "FULL_OBJECT", value },
    };
  }
}

/** As a gateway does, which learns in one question of bucket and key. */
async function bucketAhead(
  layer: ObjectLayer,
  { bucket, ...question }: KeyQuestion & { bucket: Bucket },
  signal: AbortSignal,
): Promise<Bucket> {
  const found = await layer.buckets.get(bucket.name, signal, question);
  if (found === undefined) throw new Error(`Cannot find bucket ${bucket.name}: nobody removed it`);
  return found;
}
