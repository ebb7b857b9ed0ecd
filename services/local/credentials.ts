/** The first user's keys: given by the operator, or generated once and kept in every data folder. */
import { join } from "node:path";
import type { User } from "#access/users.ts";
import { ownerIdOf } from "#access/users-file.ts";
import type { Disk } from "#lib/disk.ts";
import type { Random } from "#lib/random.ts";
import { EXIT_IO, OperatorFault } from "#local/operator-fault.ts";

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
    const kept = await read(folder);
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

async function read(folder: Disk): Promise<{ accessKey: string; secretKey: string } | undefined> {
  const bytes = await folder.readFile(CREDENTIALS_FILE);
  if (bytes === undefined) return undefined;
  const { accessKey, secretKey } = parse(bytes.toString("utf8"));
  if (typeof accessKey === "string" && typeof secretKey === "string") {
    return { accessKey, secretKey };
  }
  const path = join(folder.root ?? "", CREDENTIALS_FILE);
  throw new OperatorFault(
    `Cannot read ${path}: accessKey or secretKey is missing; remove it to have new keys made`,
    EXIT_IO,
  );
}

function parse(json: string): { accessKey?: unknown; secretKey?: unknown } {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
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
