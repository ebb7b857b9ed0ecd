/** Tag sets of objects and buckets: where they come from, and AWS's rules for them. */
import { S3Error } from "#gateway/errors.ts";
import type { Tag } from "#objects/model.ts";

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html */
export const OBJECT_TAGS_MAX = 10;
/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/CostAllocTagging.html */
export const BUCKET_TAGS_MAX = 50;

/** Counted in UTF-16, as AWS says. */
const KEY_CHARACTERS_MAX = 128;
const VALUE_CHARACTERS_MAX = 256;
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

/** A tag set by the rules, ordered by key as AWS gives it back; throws InvalidTag otherwise. */
export function checkedTags(tags: readonly Tag[], limits: { max: number }): readonly Tag[] {
  if (tags.length > limits.max) throw tooMany(limits.max);
  const keys = new Set<string>();
  for (const { key, value } of tags) {
    if (key === "" || key.length > KEY_CHARACTERS_MAX || !ALLOWED.test(key)) {
      throw new S3Error("InvalidTag", {
        message: "The TagKey you have provided is invalid",
        elements: { TagKey: key },
      });
    }
    if (value.length > VALUE_CHARACTERS_MAX || !ALLOWED.test(value)) {
      throw new S3Error("InvalidTag", {
        message: "The TagValue you have provided is invalid",
        elements: { TagKey: key, TagValue: value },
      });
    }
    if (key.toLowerCase().startsWith("aws:")) {
      throw new S3Error("InvalidTag", {
        message: "System tags cannot be added/updated by requester",
        elements: { TagKey: key },
      });
    }
    if (keys.has(key)) {
      throw new S3Error("InvalidTag", {
        message: "Cannot provide multiple Tags with the same key",
        elements: { TagKey: key },
      });
    }
    keys.add(key);
  }
  return tags.toSorted((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
}

/** The tags of an x-amz-tagging header, written like a query string. */
export function tagsFromHeader(header: string | undefined): readonly Tag[] {
  if (header === undefined || header === "") return NO_TAGS;
  const tags = header.split("&").map((pair) => {
    const [key = "", ...value] = pair.split("=");
    return { key: decode(key, header), value: decode(value.join("="), header) };
  });
  return checkedTags(tags, { max: OBJECT_TAGS_MAX });
}

const NO_TAGS: readonly Tag[] = [];

function decode(text: string, header: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch (cause) {
    throw new S3Error("InvalidArgument", {
      message:
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
      elements: { ArgumentName: "x-amz-tagging", ArgumentValue: header },
      cause,
    });
  }
}

function tooMany(max: number): S3Error {
  return new S3Error("InvalidTag", { message: `Tags cannot be greater than ${max}` });
}
