/** `<Owner>`, `<Initiator>`: a user as documents show one. */
import type { Users } from "#access/users.ts";
import { element, field } from "#gateway/xml.ts";

export function ownerElement(name: string, ownerId: string, users: Users): string {
  const displayName = users.byOwnerId(ownerId)?.displayName;
  return element(name, field("ID", ownerId), field("DisplayName", displayName ?? ""));
}

/** The same for the rows of a listing, where one owner follows another that is the same. */
export function ownerElements(users: Users): (ownerId: string) => string {
  const known = new Map<string, string>();
  return (ownerId) => {
    let shown = known.get(ownerId);
    if (shown === undefined) {
      shown = ownerElement("Owner", ownerId, users);
      known.set(ownerId, shown);
    }
    return shown;
  };
}
