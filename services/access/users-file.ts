/** The users' file: a JSON array of who may sign requests, and the table that is replaced when it is read again. */
import { hash } from "node:crypto";
import { dirname, resolve } from "node:path";
import type { User, Users } from "#access/users.ts";

/** Reads a file as text; the caller's, so that this file knows no disk. */
export type ReadText = (path: string) => Promise<string>;

/** All users of the file, or one error that names every fault in it. */
export async function readUsersFile(path: string, readText: ReadText): Promise<readonly User[]> {
  const entries = parseEntries(path, await readText(path));
  const faults: string[] = [];
  const users = await Promise.all(
    entries.map((entry, index) =>
      readUser(entry, {
        at: `users[${index}]`,
        faults,
        readSecret: (file) => readText(resolve(dirname(path), file)),
      }),
    ),
  );
  faults.push(...repetitions(users));
  if (faults.length > 0) throw new Error(`Cannot read users file ${path}: ${faults.join("; ")}`);
  return users;
}

/** The users as they are now. */
export class UserTable implements Users {
  #byAccessKey: ReadonlyMap<string, User> = new Map();
  #byOwnerId: ReadonlyMap<string, User> = new Map();

  constructor(users: readonly User[]) {
    this.replace(users);
  }

  /** All at once, or not at all when two users share what must be each one's own. */
  replace(users: readonly User[]): void {
    const faults = repetitions(users);
    if (faults.length > 0) throw new Error(`Cannot take these users: ${faults.join("; ")}`);
    this.#byAccessKey = new Map(users.map((user) => [user.accessKey, user]));
    this.#byOwnerId = new Map(users.map((user) => [user.ownerId, user]));
  }

  byAccessKey(accessKey: string): User | undefined {
    return this.#byAccessKey.get(accessKey);
  }

  byOwnerId(ownerId: string): User | undefined {
    return this.#byOwnerId.get(ownerId);
  }
}

export function isAccessKey(text: string): boolean {
  return ACCESS_KEY.test(text);
}

/** The canonical user id of a user for whom nobody chose one. */
export function ownerIdOf(name: string): string {
  return hash("sha256", name, "hex");
}

const FIELDS = [
  "name",
  "ownerId",
  "displayName",
  "email",
  "accessKey",
  "secretKey",
  "secretKeyFile",
] as const;

type Field = (typeof FIELDS)[number];

/** What stands in a Credential between its slashes and commas. */
const ACCESS_KEY = /^[A-Za-z0-9_.+=@-]{3,128}$/;
export const ACCESS_KEY_RULE = "3 to 128 letters, digits or any of _.+=@-";
export const SECRET_KEY_LENGTH_MIN = 8;
/** Goes into answers and logs, one line each. */
const PRINTABLE = /^[^\p{Cc}]{1,256}$/u;

function parseEntries(path: string, text: string): readonly unknown[] {
  const document = parseJson(text);
  if (document.kind === "fault") {
    throw new Error(`Cannot read users file ${path}: it is not JSON${document.place}`);
  }
  if (!Array.isArray(document.value)) {
    throw new Error(`Cannot read users file ${path}: it must be a JSON array of users`);
  }
  if (document.value.length === 0) {
    throw new Error(`Cannot read users file ${path}: it names no user`);
  }
  return document.value;
}

/** The parser's own error may quote the text, and with it a secret: only the place is kept. */
function parseJson(
  text: string,
): { kind: "document"; value: unknown } | { kind: "fault"; place: string } {
  try {
    return { kind: "document", value: JSON.parse(text) };
  } catch (fault) {
    const place = /at position \d+(?: \(line \d+ column \d+\))?/.exec(String(fault))?.[0];
    return { kind: "fault", place: place ? `, ${place}` : "" };
  }
}

async function readUser(
  entry: unknown,
  {
    at,
    faults,
    readSecret,
  }: { at: string; faults: string[]; readSecret: (file: string) => Promise<string> },
): Promise<User> {
  const fields = textFields(entry, { at, faults });
  const name = fields.name ?? "";
  const accessKey = fields.accessKey ?? "";
  if (fields.name === undefined) faults.push(`${at}.name is missing`);
  if (fields.accessKey === undefined) faults.push(`${at}.accessKey is missing`);
  else if (!isAccessKey(accessKey)) {
    faults.push(`${at}.accessKey must be ${ACCESS_KEY_RULE}`);
  }
  for (const field of ["name", "ownerId", "displayName", "email"] as const) {
    const value = fields[field];
    if (value !== undefined && !PRINTABLE.test(value)) {
      faults.push(`${at}.${field} must be 1 to 256 characters without control characters`);
    }
  }
  return {
    name,
    ownerId: fields.ownerId ?? ownerIdOf(name),
    displayName: fields.displayName ?? name,
    email: fields.email,
    accessKey,
    secretKey: await secretOf(fields, { at, faults, readSecret }),
  };
}

async function secretOf(
  { secretKey, secretKeyFile }: Partial<Record<Field, string>>,
  {
    at,
    faults,
    readSecret,
  }: { at: string; faults: string[]; readSecret: (file: string) => Promise<string> },
): Promise<string> {
  if ((secretKey === undefined) === (secretKeyFile === undefined)) {
    faults.push(`${at} must have either secretKey or secretKeyFile`);
    return "";
  }
  let secret = secretKey ?? "";
  if (secretKeyFile !== undefined) {
    try {
      secret = (await readSecret(secretKeyFile)).replace(/\r?\n$/, "");
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      faults.push(`${at}.secretKeyFile cannot be read: ${reason}`);
      return "";
    }
  }
  if (secret.length < SECRET_KEY_LENGTH_MIN) {
    const field = secretKeyFile === undefined ? "secretKey" : "secretKeyFile";
    faults.push(`${at}.${field} must hold at least ${SECRET_KEY_LENGTH_MIN} characters`);
  }
  return secret;
}

function textFields(
  entry: unknown,
  { at, faults }: { at: string; faults: string[] },
): Partial<Record<Field, string>> {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    faults.push(`${at} must be an object`);
    return {};
  }
  const fields: Partial<Record<Field, string>> = {};
  for (const [field, value] of Object.entries(entry)) {
    if (!isField(field)) faults.push(`${at}.${field} is not known; known are ${FIELDS.join(", ")}`);
    else if (typeof value !== "string") faults.push(`${at}.${field} must be a string`);
    else fields[field] = value;
  }
  return fields;
}

function isField(name: string): name is Field {
  return (FIELDS as readonly string[]).includes(name);
}

function repetitions(users: readonly User[]): string[] {
  return (["name", "accessKey", "ownerId"] as const).flatMap((field) => {
    const values = users.map((user) => user[field]).filter((value) => value !== "");
    const repeated = values.filter((value, index) => values.indexOf(value) !== index);
    return [...new Set(repeated)].map((value) => `two users have the ${field} ${value}`);
  });
}
