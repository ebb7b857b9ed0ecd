import { expect, test } from "vitest";
import { createMd5, md5 } from "#lib/md5.ts";

/** From RFC 1321, A.5. */
const ALPHABET = Buffer.from("abcdefghijklmnopqrstuvwxyz");
const OF_ALPHABET = "c3fcd3d76192e4007dfb496cca67e13b";

test("MD5 is the same in pieces and at once", () => {
  const running = createMd5();
  running.update(ALPHABET.subarray(0, 7)).update(ALPHABET.subarray(7));
  expect(running.digest("hex")).toBe(OF_ALPHABET);
  expect(md5(ALPHABET).toString("hex")).toBe(OF_ALPHABET);
});
