/** The first user's keys: given by the operator, or generated once and kept in every data folder. */
import type { User } from "#access/users.ts";
import { ownerIdOf } from "#access/users-file.ts";
import type { Disk } from "#lib/disk.ts";
import type { Random } from "#lib/random.ts";

export interface Credentials {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly origin: "given" | "generated" | "kept";
}

export const CREDENTIALS_FILE = "credentials.json";

/** Kept in each folder, so that the loss of one does not lock the operator out. */
export async function loadCredentials(
  given: { accessKey: string | undefined; secretKey: string | undefined },
  folders: readonly Disk[],
  random: Random,
): Promise<Credentials> {
  if (given.accessKey !== undefined && given.secretKey !== undefined) {
    return { accessKey: given.accessKey, secretKey: given.secretKey, origin: "given" };
  }
  for (const folder of folders) {
    const kept = parse(await folder.readFile(CREDENTIALS_FILE));
    if (kept === undefined) continue;
    await keep(kept, folders);
    return { ...kept, origin: "kept" };
  }
  const generated = {
    accessKey: `AK${text(random, 18, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")}`,
    secretKey: text(random, 40, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
  };
  await keep(generated, folders);
  return { ...generated, origin: "generated" };
}

/** Whose keys these are. */
export function firstUser({ accessKey, secretKey }: Credentials): User {
  const name = "root";
  const ownerId = ownerIdOf(name);
  return { name, ownerId, displayName: name, email: undefined, accessKey, secretKey };
}

function parse(bytes: Buffer | undefined): { accessKey: string; secretKey: string } | undefined {
  if (bytes === undefined) return undefined;
  const kept = JSON.parse(bytes.toString("utf8")) as { accessKey?: unknown; secretKey?: unknown };
  if (typeof kept.accessKey !== "string" || typeof kept.secretKey !== "string") {
    throw new Error(`Cannot read ${CREDENTIALS_FILE}: accessKey or secretKey is missing`);
  }
  return { accessKey: kept.accessKey, secretKey: kept.secretKey };
}

async function keep(
  keys: { accessKey: string; secretKey: string },
  folders: readonly Disk[],
): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(keys, null, 2)}\n`);
  for (const folder of folders) {
    const there = await folder.readFile(CREDENTIALS_FILE);
    if (there === undefined || !there.equals(bytes))
      await folder.writeFile(CREDENTIALS_FILE, bytes);
  }
}

/** Letters drawn evenly: both alphabets have a power of two of letters, so a masked byte is fair. */
function text(random: Random, length: number, alphabet: string): string {
  let drawn = "";
  for (const byte of random.bytes(length)) drawn += alphabet[byte & (alphabet.length - 1)];
  return drawn;
}
