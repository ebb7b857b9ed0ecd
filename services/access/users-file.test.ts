import { describe, expect, test } from "vitest";
import { ownerIdOf, readUsersFile, UserTable } from "#access/users-file.ts";

const ALICE = { name: "alice", accessKey: "ALICEKEY", secretKey: "alice-secret" };
const BOB = { name: "bob", accessKey: "BOBKEY", secretKey: "bob-secret" };

/** Reads from these files instead of a disk. */
function read(document: unknown, files: Record<string, string> = {}) {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  const all: Record<string, string> = { ...files, "/etc/anybucket/users.json": text };
  return readUsersFile("/etc/anybucket/users.json", async (path) => {
    const content = all[path];
    if (content === undefined) throw new Error(`ENOENT: no such file, open '${path}'`);
    return content;
  });
}

describe("the users' file", () => {
  test("gives each user what it says, and an owner id made of the name where it says none", async () => {
    const full = {
      ...BOB,
      ownerId: "56789abcdef",
      displayName: "Bob the builder",
      email: "bob@example.com",
    };
    expect(await read([ALICE, full])).toEqual([
      {
        ...ALICE,
        ownerId: "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90",
        displayName: "alice",
        email: undefined,
      },
      full,
    ]);
    expect(ownerIdOf("alice")).toMatch(/^2bd806c9/);
  });

  test("may leave the secret in a file beside it, or anywhere, with or without a line end", async () => {
    const files = { "/etc/anybucket/keys/alice": "alice-secret\n", "/run/bob": "bob secret " };
    const users = await read(
      [
        { name: "alice", accessKey: "ALICEKEY", secretKeyFile: "keys/alice" },
        { name: "bob", accessKey: "BOBKEY", secretKeyFile: "/run/bob" },
      ],
      files,
    );
    expect(users.map(({ secretKey }) => secretKey)).toEqual(["alice-secret", "bob secret "]);
  });

  test("takes the keys that s3-tests comes with", async () => {
    const keys = {
      accessKey: "0555b35654ad1656d804",
      secretKey: "h7GhxuBLTrlhVUyxSPUKUV8r/2EI4ngqJxD7iBdBYLhwluN30JaT3Q==",
    };
    const [user] = await read([
      { name: "tester", ownerId: "testx$9876543210abcdef0123456789abcdef", ...keys },
    ]);
    expect(user).toMatchObject(keys);
  });

  test.each([
    ["{", "it is not JSON, at position 1 (line 1 column 2)"],
    ['[{"secretKey": "hunter2hunter2" oops}]', "it is not JSON, at position 32 (line 1 column 33)"],
    ["", "it is not JSON"],
    [{}, "it must be a JSON array of users"],
    [[], "it names no user"],
    [
      ["alice"],
      "users[0] must be an object; users[0].name is missing; users[0].accessKey is missing; users[0] must have either secretKey or secretKeyFile",
    ],
    [[{ ...ALICE, name: undefined }], "users[0].name is missing"],
    [[ALICE, { ...BOB, accessKey: undefined }], "users[1].accessKey is missing"],
    [
      [{ ...ALICE, accessKey: "a/b,c" }],
      "users[0].accessKey must be 3 to 128 letters, digits or any of _.+=@-",
    ],
    [[{ ...ALICE, secretKey: undefined }], "users[0] must have either secretKey or secretKeyFile"],
    [[{ ...ALICE, secretKeyFile: "x" }], "users[0] must have either secretKey or secretKeyFile"],
    [[{ ...ALICE, secretKey: "short" }], "users[0].secretKey must hold at least 8 characters"],
    [
      [{ ...ALICE, name: "a\nb" }],
      "users[0].name must be 1 to 256 characters without control characters",
    ],
    [
      [{ ...ALICE, ownerId: "" }],
      "users[0].ownerId must be 1 to 256 characters without control characters",
    ],
    [[{ ...ALICE, email: 7 }], "users[0].email must be a string"],
    [
      [{ ...ALICE, admin: true }],
      "users[0].admin is not known; known are name, ownerId, displayName, email, accessKey, secretKey, secretKeyFile",
    ],
    [[ALICE, { ...BOB, accessKey: "ALICEKEY" }], "two users have the accessKey ALICEKEY"],
    [
      [ALICE, { ...BOB, name: "alice" }],
      "two users have the name alice; two users have the ownerId 2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90",
    ],
    [
      [
        { ...ALICE, ownerId: "x" },
        { ...BOB, ownerId: "x" },
      ],
      "two users have the ownerId x",
    ],
  ])("%j is refused", async (document, fault) => {
    await expect(read(document)).rejects.toThrow(
      new Error(`Cannot read users file /etc/anybucket/users.json: ${fault}`),
    );
  });

  test("whose secret file is missing names it", async () => {
    const user = { name: "alice", accessKey: "ALICEKEY", secretKeyFile: "gone" };
    await expect(read([user])).rejects.toThrow(
      "users[0].secretKeyFile cannot be read: ENOENT: no such file, open '/etc/anybucket/gone'",
    );
  });
});

describe("the table of users", () => {
  test("finds by access key and by owner, until it is replaced", async () => {
    const [alice, bob] = await read([ALICE, BOB]);
    if (!alice || !bob) throw new Error("Two users were written");
    const table = new UserTable([alice]);
    expect(table.byAccessKey("ALICEKEY")).toBe(alice);
    expect(table.byOwnerId(alice.ownerId)).toBe(alice);
    table.replace([bob]);
    expect(table.byAccessKey("ALICEKEY")).toBeUndefined();
    expect(table.byAccessKey("BOBKEY")).toBe(bob);
    expect(table.byAccessKey("constructor")).toBeUndefined();
  });

  test("keeps what it has when the new users share a key", async () => {
    const [alice] = await read([ALICE]);
    if (!alice) throw new Error("One user was written");
    const table = new UserTable([alice]);
    expect(() => table.replace([alice, { ...alice, name: "bob", ownerId: "b" }])).toThrow(
      "Cannot take these users: two users have the accessKey ALICEKEY",
    );
    expect(table.byAccessKey("ALICEKEY")).toBe(alice);
  });
});
