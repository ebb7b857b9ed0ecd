/** The rows of ListObjects and ListObjectsV2. A hot path: a thousand of them are written for one page. */
import { isoDate } from "#gateway/dates.ts";
import { escapeXml } from "#gateway/xml.ts";
import type { ListedObject, ListPage } from "#objects/object-layer.ts";

/** `<Contents>` of every object, then `<CommonPrefixes>`; owners where `showOwner` is given. */
export function objectEntries(
  page: ListPage<ListedObject>,
  spell: (key: string) => string,
  showOwner: ((ownerId: string) => string) | undefined,
): string {
  let contents = "";
  let prefixes = "";
  for (const entry of page.entries) {
    if (entry.kind === "prefix") {
      prefixes += `<CommonPrefixes><Prefix>${spell(entry.prefix)}</Prefix></CommonPrefixes>`;
      continue;
    }
    const { key, lastModifiedMs, etag, checksum, size, ownerId, storageClass } = entry.item;
    const algorithm = checksum
      ? `<ChecksumAlgorithm>${checksum.algorithm}</ChecksumAlgorithm><ChecksumType>${checksum.type}</ChecksumType>`
      : "";
    const owner = showOwner ? showOwner(ownerId) : "";
    contents += `<Contents><Key>${spell(key)}</Key><LastModified>${isoDate(lastModifiedMs)}</LastModified><ETag>&quot;${etag}&quot;</ETag>${algorithm}<Size>${size}</Size>${owner}<StorageClass>${escapeXml(storageClass)}</StorageClass></Contents>`;
  }
  return contents + prefixes;
}

/** The key or common prefix that a page ends with. */
export function lastEntry(page: ListPage<{ readonly key: string }>): string | undefined {
  const last = page.entries.at(-1);
  if (!last) return undefined;
  return last.kind === "prefix" ? last.prefix : last.item.key;
}
