/** `<Tagging>`: tag sets as documents, in and out. */
import type { S3Request } from "#gateway/context.ts";
import { checkedTags } from "#gateway/tags.ts";
import { document, type Element, element, field, readDocument } from "#gateway/xml.ts";
import type { Tag } from "#objects/model.ts";

/** The tags of a request's body, by the rules. */
export async function readTagging(
  request: S3Request,
  limits: { max: number },
): Promise<readonly Tag[]> {
  return parseTagging(await request.body.document(TAGGING_BYTES_MAX), limits);
}

export function parseTagging(bytes: Buffer, limits: { max: number }): readonly Tag[] {
  const root = readDocument(bytes, "Tagging").only("TagSet");
  return readTagSet(root.required("TagSet"), limits);
}

/** The tags in an element that holds nothing else. */
export function readTagSet(set: Element, limits: { max: number }): readonly Tag[] {
  const tags = set.only("Tag").children.map((tag) => {
    tag.only("Key", "Value");
    return { key: tag.required("Key").text, value: tag.required("Value").text };
  });
  return checkedTags(tags, limits);
}

export function taggingDocument(tags: readonly Tag[]): string {
  const listed = tags.map(({ key, value }) =>
    element("Tag", field("Key", key), field("Value", value)),
  );
  return document("Tagging", element("TagSet", ...listed));
}

/** Fifty tags of the longest kind, spelled with references. */
const TAGGING_BYTES_MAX = 512 * 1024;
