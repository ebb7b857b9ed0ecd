/** What listings say, taken from the documents that our gateways write: their elements have no attributes and a fixed order. */
export interface Listed {
  readonly key: string;
  /** Of a delete marker there is none. */
  readonly etag: string | undefined;
}

export interface ListedVersion extends Listed {
  readonly versionId: string;
}

export function listedObjects(xml: string): readonly Listed[] {
  return [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, entry = ""]) => {
    return { key: textOf(entry, "Key"), etag: etagOf(entry) };
  });
}

/** Newest first of each key. */
export function listedVersions(xml: string): readonly ListedVersion[] {
  const entries = xml.matchAll(/<(Version|DeleteMarker)>(.*?)<\/\1>/gs);
  return [...entries].map(([, kind, entry = ""]) => {
    const key = textOf(entry, "Key");
    const etag = kind === "Version" ? etagOf(entry) : undefined;
    return { key, etag, versionId: textOf(entry, "VersionId") };
  });
}

/** Empty where there is no such element. */
export function textOf(xml: string, element: string): string {
  return new RegExp(`<${element}>([^<]*)</${element}>`).exec(xml)?.[1] ?? "";
}

function etagOf(entry: string): string {
  return textOf(entry, "ETag").replaceAll("&quot;", "");
}
