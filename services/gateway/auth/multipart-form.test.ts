import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { openForm } from "#gateway/auth/multipart-form.ts";
import { StreamSource } from "#gateway/body-source.ts";
import { S3Error } from "#gateway/errors.ts";

const TYPE = "multipart/form-data; boundary=----x--y";

function field(name: string, value: string): string {
  return `------x--y\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
}

function file(content: string, disposition = 'name="file"; filename="a.txt"'): string {
  return `------x--y\r\nContent-Disposition: form-data; ${disposition}\r\nContent-Type: text/plain\r\n\r\n${content}\r\n`;
}

const END = "------x--y--\r\n";

async function read(form: string | readonly Buffer[], type = TYPE) {
  const pieces = typeof form === "string" ? [Buffer.from(form)] : form;
  const {
    fields,
    fileName,
    file: source,
  } = await openForm(new StreamSource(Readable.from(pieces)), type);
  const content: Buffer[] = [];
  for (let piece = await source.next(); piece; piece = await source.next()) content.push(piece);
  return {
    fields: Object.fromEntries(fields),
    fileName,
    content: Buffer.concat(content).toString(),
  };
}

async function refused(form: string | readonly Buffer[], type = TYPE): Promise<string> {
  try {
    await read(form, type);
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
  throw new Error("It was let in");
}

describe("a form", () => {
  test("gives fields under lower-case names, then the file", async () => {
    const form = `${field("Key", "a/${filename}")}${field("x-amz-meta-né", "é\r\n--")}${file("bytes")}${END}`;
    expect(await read(form)).toEqual({
      fields: { key: "a/${filename}", "x-amz-meta-né": "é\r\n--" },
      fileName: "a.txt",
      content: "bytes",
    });
  });

  test("reads the same wherever it is cut in two, and byte by byte", async () => {
    const content = "ab\r\n------x--\r\r\n------x-\r\n------x--Y";
    const form = Buffer.from(`${field("key", "k")}${file(content)}${field("submit", "Go")}${END}`);
    const expected = { fields: { key: "k" }, fileName: "a.txt", content };
    for (let cut = 0; cut <= form.length; cut++) {
      const pieces = [form.subarray(0, cut), form.subarray(cut)].filter(({ length }) => length > 0);
      expect(await read(pieces), `cut at ${cut}`).toEqual(expected);
    }
    expect(await read(Array.from(form, (byte) => Buffer.of(byte)))).toEqual(expected);
  });

  test("passes a large file on as slices", async () => {
    const head = Buffer.from(`${field("key", "k")}${file("")}`.slice(0, -2));
    const block = Buffer.alloc(64 * 1024, "z");
    const pieces = [head, block, block, Buffer.from(`\r\n${END}`)];
    const form = await openForm(new StreamSource(Readable.from(pieces)), TYPE);
    expect((await form.file.next())?.buffer).toBe(block.buffer);
    expect((await form.file.next())?.length).toBe(block.length);
    expect(await form.file.next()).toBeUndefined();
  });

  test("may hold an empty file", async () => {
    expect((await read(`${field("key", "k")}${file("")}${END}`)).content).toBe("");
  });

  test("takes a field with a file name for a field, as Python's requests sends them", async () => {
    const form = `${file("k", 'name="key"; filename="key"')}${file("v")}${END}`;
    expect(await read(form)).toMatchObject({ fields: { key: "k" }, content: "v" });
  });

  test.each([
    ['filename="C:\\Docs\\a.txt"', "a.txt"],
    ['filename="../../a.txt"', "a.txt"],
    ['filename="a; name=key.txt"', "a; name=key.txt"],
    ['filename="say %22hi%22.txt"', 'say "hi".txt'],
    ['filename="say \\"hi\\".txt"', 'say "hi".txt'],
    ['filename="été.txt"', "été.txt"],
    ["filename=plain.txt", "plain.txt"],
    ["filename*=utf-8''%C3%A9t%C3%A9.txt", "été.txt"],
    ["x=1", ""],
  ])("whose file has %s", async (parameter, name) => {
    const form = `${field("key", "k")}${file("v", `name="file"; ${parameter}`)}${END}`;
    expect((await read(form)).fileName).toBe(name);
  });

  test.each([
    ['multipart/form-data; boundary="----x--y"', undefined],
    ["Multipart/Form-Data;charset=utf-8; boundary=----x--y", undefined],
    ["multipart/form-data", "PreconditionFailed"],
    ["application/x-www-form-urlencoded", "PreconditionFailed"],
    ["multipart/form-data; charset=utf-8", "MalformedPOSTRequest"],
    [`multipart/form-data; boundary=${"x".repeat(71)}`, "MalformedPOSTRequest"],
  ])("of the type %s", async (type, code) => {
    const form = `${field("key", "k")}${file("v")}${END}`;
    const outcome =
      code === undefined ? (await read(form, type)).content : await refused(form, type);
    expect(outcome).toBe(code ?? "v");
  });

  const good = `${field("key", "k")}${file("v")}`;
  test.each([
    ["nothing", "", "MalformedPOSTRequest"],
    ["no boundary", "hello world, this is no form at all", "MalformedPOSTRequest"],
    ["no file", `${field("key", "k")}${END}`, "InvalidArgument"],
    [
      "a field twice",
      `${field("key", "k")}${field("KEY", "k")}${file("v")}${END}`,
      "InvalidArgument",
    ],
    ["no end", good, "MalformedPOSTRequest"],
    ["an end cut off", good + END.slice(0, 5), "MalformedPOSTRequest"],
    ["an end without its dashes", `${good}------x--y`, "MalformedPOSTRequest"],
    ["a part without name", `${file("v", 'filename="key"')}${END}`, "MalformedPOSTRequest"],
    ["a name twice", `${file("v", 'name="key"; name="file"')}${END}`, "MalformedPOSTRequest"],
    [
      "a part without disposition",
      `------x--y\r\nContent-Type: a/b\r\n\r\nv\r\n${END}`,
      "MalformedPOSTRequest",
    ],
    [
      "a field of 20 KiB",
      `${field("key", "k".repeat(21_000))}${file("v")}${END}`,
      "MaxPostPreDataLengthExceededError",
    ],
    [
      "many small fields",
      `${Array.from({ length: 400 }, (_, n) => field(`f${n}`, "")).join("")}${file("v")}${END}`,
      "MaxPostPreDataLengthExceededError",
    ],
    [
      "much behind the file",
      `${good}${field("more", "m".repeat(70_000))}${END}`,
      "MalformedPOSTRequest",
    ],
  ])("with %s is refused", async (_, form, code) => {
    expect(await refused(form)).toBe(code);
    const bytes = Buffer.from(form);
    const pieces = [];
    for (let start = 0; start < bytes.length; start += 1000)
      pieces.push(bytes.subarray(start, start + 1000));
    expect(await refused(pieces)).toBe(code);
  });

  test("whose fields are no UTF-8 is refused", async () => {
    const form = Buffer.from(`${field("key", "k\xff")}${file("v")}${END}`, "latin1");
    expect(await refused([form])).toBe("MalformedPOSTRequest");
  });
});
