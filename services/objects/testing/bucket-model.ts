/** A bucket as S3 describes it, as simply as it can be said: each key has its versions, newest first. */
import type { Versioning } from "#objects/model.ts";

export interface ModelVersion {
  versionId: string;
  readonly isMarker: boolean;
  readonly body: string;
  tag: string;
}

export class BucketModel {
  versioning: Versioning;
  readonly #keys = new Map<string, ModelVersion[]>();

  constructor(versioning: Versioning) {
    this.versioning = versioning;
  }

  push(key: string, version: ModelVersion): void {
    const versions = this.of(key);
    const kept =
      this.versioning === "enabled"
        ? versions
        : versions.filter(({ versionId }) => versionId !== "null");
    this.#keys.set(key, [version, ...kept]);
  }

  removeVersion(key: string, versionId: string): void {
    const kept = this.of(key).filter((version) => version.versionId !== versionId);
    if (kept.length === 0) this.#keys.delete(key);
    else this.#keys.set(key, kept);
  }

  of(key: string): readonly ModelVersion[] {
    return this.#keys.get(key) ?? [];
  }

  current(key: string): ModelVersion | undefined {
    const [head] = this.of(key);
    return head?.isMarker ? undefined : head;
  }

  /** In UTF-8's order. */
  keys(): readonly string[] {
    return [...this.#keys.keys()].toSorted((one, other) =>
      Buffer.compare(Buffer.from(one), Buffer.from(other)),
    );
  }
}

/** What a listing of these keys shows, page limit apart: names of keys, and common prefixes with a star. */
export function listedNames(
  keys: readonly string[],
  { prefix, delimiter, after }: { prefix: string; delimiter: string; after: string },
): readonly string[] {
  const names: string[] = [];
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue;
    const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
    const name = at === -1 ? key : key.slice(0, at + delimiter.length);
    if (Buffer.compare(Buffer.from(name), Buffer.from(after)) <= 0) continue;
    const shown = at === -1 ? name : `${name}*`;
    if (names.at(-1) !== shown) names.push(shown);
  }
  return names;
}
