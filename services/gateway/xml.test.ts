/** The reader refuses what is hostile and reads what clients send; the writer's documents read back as what was written. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { S3Error } from "#gateway/errors.ts";
import {
  document,
  type Element,
  element,
  encodeUrl,
  escapeXml,
  field,
  readDocument,
} from "#gateway/xml.ts";
import { rounds } from "#lib/testing/rounds.ts";

const read = (text: string, root = "Delete") => readDocument(Buffer.from(text), root);
const malformed = expect.objectContaining({ name: "S3Error", code: "MalformedXML" });

/** An element: its text or its elements, and how the text is spelled. */
interface Tree {
  readonly name: string;
  readonly text: string;
  readonly isData: boolean;
  readonly children: readonly Tree[];
}

const name = fc.stringMatching(/^[A-Za-z_][\w.-]{0,5}$/);
/** What XML can hold. */
const legal = fc
  .string({ unit: "binary", maxLength: 10 })
  .filter((text) => /^[\t\n\r\P{Cc}\u007f-\u009f]*$/u.test(text) && !/[\ufffe\uffff]/.test(text));

function tree(depth: number): fc.Arbitrary<Tree> {
  const isData = fc.boolean();
  const leaf = fc.record({ name, text: legal, isData, children: fc.constant([]) });
  if (depth === 0) return leaf;
  const children = fc.array(tree(depth - 1), { minLength: 1, maxLength: 3 });
  return fc.oneof(leaf, fc.record({ name, text: fc.constant(""), isData, children }));
}

function spelled({ name: tag, text, isData, children }: Tree): string {
  const inner =
    children.length === 0
      ? isData && !/\]\]>|\r/.test(text)
        ? `<![CDATA[${text}]]>`
        : escapeXml(text)
      : children.map((child) => `\n <!-- <x> -->${spelled(child)}<?pi?> `).join("");
  return `<${tag} xmlns="x"${isData ? "" : " "}>${inner}</${tag}>`;
}

/** What was read, as far as the tree written asks. */
function treeOf(found: Element, { isData, children }: Tree): Tree {
  const own = children.length === 0 ? [] : found.children;
  return {
    name: found.name,
    text: children.length === 0 ? found.text : "",
    isData,
    children: own.map((child, index) => treeOf(child, children[index] ?? EMPTY)),
  };
}

const EMPTY: Tree = { name: "", text: "", isData: false, children: [] };

describe("reading", () => {
  test("gives elements by name, with their text, and never minds the namespace", () => {
    const root = read(
      '<?xml version="1.0" encoding="UTF-8"?>\n<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">\n  <Quiet>true</Quiet>\n  <Object><Key> a&amp;b </Key></Object><Object><Key><![CDATA[<x>]]></Key></Object></Delete>',
    );
    expect(root.required("Quiet").boolean).toBe(true);
    expect(root.all("Object").map((object) => object.required("Key").text)).toEqual([
      " a&b ",
      "<x>",
    ]);
    expect(
      read("<s3:Delete xmlns:s3='x'><s3:Part>7</s3:Part></s3:Delete>").child("Part")?.integer,
    ).toBe(7);
  });

  test("finds an attribute whatever its prefix", () => {
    const grantee = read(
      '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"/>',
      "Grantee",
    );
    expect(grantee.attribute("type")).toBe("CanonicalUser");
    expect(grantee.attribute("kind")).toBeUndefined();
  });

  test.each([
    ["nothing", ""],
    ["no XML", "hello"],
    ["another root", "<Other/>"],
    ["an unclosed element", "<Delete><Object></Delete>"],
    ["two roots", "<Delete/><Delete/>"],
    ["a DOCTYPE", '<!DOCTYPE Delete [<!ENTITY x "y">]><Delete>&x;</Delete>'],
    ["a DOCTYPE in lower case", "<!doctype Delete><Delete/>"],
    ["an external entity", '<!DOCTYPE Delete SYSTEM "file:///etc/passwd"><Delete/>'],
    ["an entity of its own", "<Delete>&x;</Delete>"],
    ["a parameter entity", '<!ENTITY % p "x"><Delete/>'],
    ["another encoding", '<?xml version="1.0" encoding="UTF-7"?><Delete/>'],
    ["a reference to a character XML cannot hold", "<Delete>&#0;</Delete>"],
    ["a half surrogate", "<Delete>&#xD800;</Delete>"],
    ["a duplicate attribute", '<Delete a="1" a="2"/>'],
  ])("refuses %s", (_, text) => {
    expect(() => read(text)).toThrow(malformed);
  });

  test("refuses what is not UTF-8", () => {
    const utf16 = Buffer.from("\ufeff<Delete/>", "utf16le");
    expect(() => readDocument(utf16, "Delete")).toThrow(malformed);
    const broken = Buffer.concat([
      Buffer.from("<Delete>"),
      Buffer.of(0xc0, 0x80),
      Buffer.from("</Delete>"),
    ]);
    expect(() => readDocument(broken, "Delete")).toThrow(malformed);
  });

  test("skips a byte order mark", () => {
    expect(read("\ufeff<Delete/>").name).toBe("Delete");
  });

  test.each([
    ["depth", `${"<a>".repeat(100_000)}${"</a>".repeat(100_000)}`],
    ["elements", `<Delete>${"<a/>".repeat(1_000_000)}</Delete>`],
    ["attributes", `<Delete ${Array.from({ length: 100_000 }, (_, i) => `a${i}="1"`).join(" ")}/>`],
    ["references", `<Delete>${"&#65;".repeat(500_000)}</Delete>`],
    ["bytes", `<Delete>${"x".repeat(5_000_000)}</Delete>`],
    ["unclosed comments", `<Delete>${"<!--".repeat(100_000)}`],
  ])("refuses too many %s without working on them", (_, text) => {
    const bytes = Buffer.from(text);
    // Its own time: others may have the processor meanwhile.
    const before = process.threadCpuUsage();
    expect(() => readDocument(bytes, "Delete")).toThrow(malformed);
    const { user, system } = process.threadCpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(250);
  });

  test("element names of JavaScript's own pollute nothing", () => {
    const root = read("<Delete><__proto__>x</__proto__><constructor>y</constructor></Delete>");
    expect(root.required("__proto__").text).toBe("x");
    expect(root.child("toString")).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  test("refuses an element twice where one is asked for, a missing one, stray text, and what is no number", () => {
    expect(() => read("<Delete><Key>1</Key><Key>2</Key></Delete>").child("Key")).toThrow(malformed);
    expect(() => read("<Delete/>").required("Key")).toThrow(malformed);
    expect(() => read("<Delete>x<Key/></Delete>").child("Key")).toThrow(malformed);
    expect(() => read("<Delete><Key><a/></Key></Delete>").child("Key")?.text).toThrow(malformed);
    for (const number of ["", "-1", "1.5", "0x10", "1e3", "99999999999999999"]) {
      expect(() => read(`<Delete>${number}</Delete>`).integer).toThrow(malformed);
    }
    expect(() => read("<Delete>yes</Delete>").boolean).toThrow(malformed);
    expect(() => read("<Delete><Key/><Kay/></Delete>").only("Key")).toThrow(malformed);
  });

  test("gives the tree that was written, however it is spelled, and nothing of one cut short", () => {
    fc.assert(
      fc.property(tree(3), fc.nat(), (written, cut) => {
        const text = spelled(written);
        expect(treeOf(read(text, written.name), written)).toEqual(written);
        const short = text.slice(0, cut % text.length);
        expect([short, outcomeOf(() => read(short, written.name))]).toEqual([
          short,
          "MalformedXML",
        ]);
      }),
      { numRuns: rounds(300) },
    );
  });

  test("hostile text throws MalformedXML and nothing else", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "<",
        ">",
        "</",
        "/>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?xml",
        "?>",
        "&",
        "&#x",
        ";",
        "Delete",
        "xmlns:a='b'",
        '"',
      ),
      fc.string({ unit: "binary", maxLength: 5 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const outcome = outcomeOf(() =>
          readDocument(Buffer.from(`<Delete>${pieces.join("")}</Delete>`), "Delete"),
        );
        expect(["read", "MalformedXML"]).toContain(outcome);
      }),
      { numRuns: rounds(200) },
    );
  });
});

describe("writing", () => {
  test("what is written reads back, whatever text it holds", () => {
    fc.assert(
      fc.property(fc.array(legal, { maxLength: 5 }), (keys) => {
        const written = document(
          "Delete",
          ...keys.map((key) => element("Object", field("Key", key))),
        );
        const found = read(written)
          .all("Object")
          .map((object) => object.required("Key").text);
        expect(found).toEqual(keys);
      }),
      { numRuns: rounds(200) },
    );
  });

  test("escapes markup, controls and what XML 1.0 cannot hold", () => {
    expect(escapeXml(`<a href="x">&'`)).toBe("&lt;a href=&quot;x&quot;&gt;&amp;'");
    expect(escapeXml("a\r\n\t\u0001\uffff")).toBe("a&#xD;&#xA;&#x9;&#x1;&#xFFFF;");
    expect(escapeXml("a\ud800b")).toBe("a\ufffdb");
    expect(escapeXml("grün 😀")).toBe("grün 😀");
  });

  test("leaves out a field that has no value", () => {
    expect(field("Size", 0) + field("Is", false) + field("Key", undefined)).toBe(
      "<Size>0</Size><Is>false</Is>",
    );
  });

  // Edge rule 10: what encoding-type=url does to keys, prefixes, delimiters and markers.
  test("encodes for encoding-type=url so that any decoder gives the key back", () => {
    expect(encodeUrl("foo+1/bar")).toBe("foo%2B1/bar");
    expect(encodeUrl("quux ab/100%")).toBe("quux%20ab/100%25");
    expect(encodeUrl("a-b_c.d*e~!'()")).toBe("a-b_c.d*e%7E%21%27%28%29");
    expect(encodeUrl("\u0001ü")).toBe("%01%C3%BC");
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (key) => {
        const encoded = encodeUrl(key);
        expect(decodeURIComponent(encoded)).toBe(key);
        expect(decodeURIComponent(encoded.replaceAll("+", " "))).toBe(key);
      }),
      { numRuns: rounds(300) },
    );
  });
});

function outcomeOf(reading: () => unknown): string {
  try {
    reading();
    return "read";
  } catch (error) {
    return error instanceof S3Error ? error.code : String(error);
  }
}
