/** `<AccessControlPolicy>`: shown grant by grant, taken when it grants just what a canned ACL does. */
import type { Grant, Grantee, Permission } from "#access/acl.ts";
import { parseCannedAcl } from "#access/acl.ts";
import type { Users } from "#access/users.ts";
import { cannedAclHeader } from "#gateway/canned-acl.ts";
import type { S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import { ownerElement } from "#gateway/owner-element.ts";
import { document, type Element, element, field, readDocument } from "#gateway/xml.ts";
import type { CannedAcl } from "#objects/model.ts";

/** Groups come first, as some clients look a grantee's name up by position. */
export function aclDocument(
  policy: { ownerId: string; grants: readonly Grant[] },
  users: Users,
): string {
  const groups = policy.grants.filter(({ grantee }) => grantee.kind === "group");
  const others = policy.grants.filter(({ grantee }) => grantee.kind === "user");
  const listed = [...groups, ...others].map((grant) => grantElement(grant, users));
  return document(
    "AccessControlPolicy",
    ownerElement("Owner", policy.ownerId, users),
    element("AccessControlList", ...listed),
  );
}

/** The canned ACL that the request's header names or that its document amounts to. */
export async function requestedAcl(
  request: S3Request,
  users: Users,
  resource: { ownerId: string; grantsOf: (acl: CannedAcl) => readonly Grant[] },
): Promise<CannedAcl> {
  const named = cannedAclHeader(request.headers);
  const bytes = await request.body.document(POLICY_BYTES_MAX);
  if (named !== undefined) {
    if (bytes.length === 0) return named;
    throw new S3Error("UnexpectedContent");
  }
  if (bytes.length === 0) {
    throw new S3Error("MissingSecurityHeader", {
      message: "Your request was missing a required header",
      elements: { MissingHeaderName: "x-amz-acl" },
    });
  }
  const grants = readPolicy(bytes, users, resource.ownerId);
  const wanted = fingerprint(grants);
  const canned = CANNED.find((acl) => fingerprint(resource.grantsOf(acl)) === wanted);
  if (canned !== undefined) return canned;
  throw new S3Error("NotImplemented", {
    message: "Only access control policies that equal a canned ACL are implemented",
  });
}

/** A hundred grants, the most that AWS takes, generously indented. */
const POLICY_BYTES_MAX = 128 * 1024;
const GRANTS_MAX = 100;
const INSTANCE = "http://www.w3.org/2001/XMLSchema-instance";

/** Those that say the least first: where the bucket's owner is the object's, several grant the same. */
const CANNED = [
  "private",
  "public-read",
  "public-read-write",
  "authenticated-read",
  "bucket-owner-read",
  "bucket-owner-full-control",
].flatMap((name) => parseCannedAcl(name) ?? []);

function grantElement({ grantee, permission }: Grant, users: Users): string {
  return element("Grant", granteeElement(grantee, users), field("Permission", permission));
}

function granteeElement(grantee: Grantee, users: Users): string {
  if (grantee.kind === "group") {
    return `<Grantee xmlns:xsi="${INSTANCE}" xsi:type="Group">${field("URI", grantee.uri)}</Grantee>`;
  }
  const displayName = users.byOwnerId(grantee.ownerId)?.displayName ?? "";
  const name = field("ID", grantee.ownerId) + field("DisplayName", displayName);
  return `<Grantee xmlns:xsi="${INSTANCE}" xsi:type="CanonicalUser">${name}</Grantee>`;
}

function readPolicy(bytes: Buffer, users: Users, ownerId: string): readonly Grant[] {
  const root = readAclDocument(bytes);
  const statedOwner = root.required("Owner").required("ID").text;
  // Ownership cannot be given away.
  if (statedOwner !== ownerId) throw new S3Error("AccessDenied");
  const grants = root.required("AccessControlList").only("Grant").children;
  if (grants.length > GRANTS_MAX) throw new S3Error("MalformedACLError");
  return grants.map((grant) => ({
    grantee: readGrantee(grant.required("Grantee"), users),
    permission: readPermission(grant.required("Permission").text),
  }));
}

function readAclDocument(bytes: Buffer): Element {
  try {
    return readDocument(bytes, "AccessControlPolicy").only("Owner", "AccessControlList");
  } catch (error) {
    if (error instanceof S3Error) throw new S3Error("MalformedACLError", { cause: error });
    throw error;
  }
}

function readGrantee(grantee: Element, users: Users): Grantee {
  switch (grantee.attribute("type")) {
    case "CanonicalUser":
      return knownUser(grantee.required("ID").text, users);
    case "Group":
      return { kind: "group", uri: grantee.required("URI").text };
    case "AmazonCustomerByEmail":
      // Users are found by key and by id only.
      throw new S3Error("UnresolvableGrantByEmailAddress");
    case undefined:
    default:
      throw new S3Error("MalformedACLError");
  }
}

function knownUser(ownerId: string, users: Users): Grantee {
  if (users.byOwnerId(ownerId)) return { kind: "user", ownerId };
  throw new S3Error("InvalidArgument", {
    message: "Invalid id",
    elements: { ArgumentName: "CanonicalUser/ID", ArgumentValue: ownerId },
  });
}

function readPermission(text: string): Permission {
  switch (text) {
    case "FULL_CONTROL":
    case "READ":
    case "WRITE":
    case "READ_ACP":
    case "WRITE_ACP":
      return text;
    default:
      throw new S3Error("MalformedACLError");
  }
}

/** Equal for the same grants in any order. */
function fingerprint(grants: readonly Grant[]): string {
  const lines = grants.map(({ grantee, permission }) =>
    JSON.stringify([grantee.kind === "user" ? grantee.ownerId : grantee.uri, permission]),
  );
  return [...new Set(lines)].toSorted().join("\n");
}
