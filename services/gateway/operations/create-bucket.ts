/** CreateBucket. */
import { isBucketName } from "#gateway/bucket-name.ts";
import { US_EAST_1 } from "#gateway/buckets.ts";
import { cannedAclHeader, changesNothing, hasGrants } from "#gateway/canned-acl.ts";
import type { GatewaySettings, Parts, S3Request, S3Response } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { callerId } from "#gateway/object-headers.ts";
import { readTagSet } from "#gateway/tagging-document.ts";
import { BUCKET_TAGS_MAX } from "#gateway/tags.ts";
import { type Element, readDocument } from "#gateway/xml.ts";
import type { Bucket, CannedAcl, Ownership } from "#objects/model.ts";

export async function createBucket(request: S3Request, parts: Parts): Promise<S3Response> {
  const { bucketName: name, caller, signal } = request;
  const { objects, settings } = parts;
  if (!isBucketName(name))
    throw new S3Error("InvalidBucketName", { elements: { BucketName: name } });
  const asked = requestedOwnership(request);
  const ownership = asked ?? settings.defaultOwnership;
  const acl = bucketAcl(request, ownership);
  const { region, tags } = await readConfiguration(request, settings);
  const ownerId = callerId(caller);
  const wanted = { name, ownerId, region, ownership, acl, tags, signal };
  const outcome = await objects.buckets.create(wanted);
  if (outcome.kind === "exists") {
    refuseTaken(outcome.bucket, { ownerId, acl, ownership: asked, tags }, settings);
  }
  return { status: 200, headers: { location: `/${name}` } };
}

export function parseOwnership(text: string): Ownership | undefined {
  switch (text) {
    case "BucketOwnerEnforced":
    case "BucketOwnerPreferred":
    case "ObjectWriter":
      return text;
    default:
      return undefined;
  }
}

const CONFIGURATION_BYTES_MAX = 64 * 1024;
const REGION = /^[A-Za-z0-9-]{1,63}$/;

function requestedOwnership(request: S3Request): Ownership | undefined {
  const header = request.headers.get("x-amz-object-ownership");
  if (header === undefined) return undefined;
  const ownership = parseOwnership(header);
  if (ownership !== undefined) return ownership;
  throw new S3Error("InvalidArgument", {
    message: `Invalid x-amz-object-ownership header: ${header}`,
    elements: { ArgumentName: "x-amz-object-ownership", ArgumentValue: header },
  });
}

function bucketAcl(request: S3Request, ownership: Ownership): CannedAcl {
  if (ownership !== "BucketOwnerEnforced") return cannedAclHeader(request.headers) ?? "private";
  if (hasGrants(request.headers)) throw new S3Error("InvalidBucketAclWithObjectOwnership");
  const acl = cannedAclHeader(request.headers) ?? "private";
  if (!changesNothing(acl)) throw new S3Error("InvalidBucketAclWithObjectOwnership");
  return "private";
}

interface Configuration {
  /** Where the client wants its bucket; empty for us-east-1 or when it does not say. */
  readonly region: string;
  readonly tags: Bucket["tags"];
}

async function readConfiguration(
  request: S3Request,
  settings: GatewaySettings,
): Promise<Configuration> {
  const bytes = await request.body.document(CONFIGURATION_BYTES_MAX);
  if (bytes.length === 0) return { region: "", tags: undefined };
  const configuration = readDocument(bytes, "CreateBucketConfiguration").only(
    "LocationConstraint",
    "Location",
    "Bucket",
    "Tags",
  );
  // Of directory buckets.
  for (const name of ["Location", "Bucket"]) {
    if (configuration.child(name) === undefined) continue;
    throw new S3Error("NotImplemented", {
      message: `CreateBucketConfiguration with ${name} is not implemented`,
    });
  }
  const set = configuration.child("Tags");
  const tags = set && readTagSet(set, { max: BUCKET_TAGS_MAX });
  return {
    region: locationConstraint(configuration, settings),
    tags: tags?.length === 0 ? undefined : tags,
  };
}

function locationConstraint(configuration: Element, settings: GatewaySettings): string {
  const region = configuration.child("LocationConstraint")?.text.trim() ?? "";
  if (region === "") return "";
  if (!REGION.test(region)) {
    throw new S3Error("InvalidLocationConstraint", { elements: { LocationConstraint: region } });
  }
  if (settings.region !== undefined && region !== settings.region) {
    throw new S3Error("IllegalLocationConstraintException", {
      message: `The ${region} location constraint is incompatible for the region specific endpoint this request was sent to.`,
    });
  }
  return region === US_EAST_1 ? "" : region;
}

/**
 * One's own bucket again is a success in us-east-1 only, as on AWS, and only as it is: AWS would reset its ACL, which opens or closes
 * a bucket that somebody meant to leave alone. ceph/s3-tests expects this code. With tags it never is, as on AWS.
 */
function refuseTaken(
  bucket: Bucket,
  wanted: Pick<Bucket, "ownerId" | "acl" | "ownership" | "tags">,
  settings: GatewaySettings,
): void {
  const elements = { BucketName: bucket.name };
  if (bucket.ownerId !== wanted.ownerId) throw new S3Error("BucketAlreadyExists", { elements });
  if ((settings.region ?? US_EAST_1) !== US_EAST_1 || wanted.tags !== undefined) {
    throw new S3Error("BucketAlreadyOwnedByYou", { elements });
  }
  const isOther =
    wanted.acl !== bucket.acl || (wanted.ownership ?? bucket.ownership) !== bucket.ownership;
  if (isOther) throw new S3Error("BucketAlreadyExists", { elements });
}
