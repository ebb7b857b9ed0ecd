/** What nobody should send (bodies apart): each gets S3's own error and leaves nothing behind. */
import { createHash } from "node:crypto";
import { ListObjectsV2Command, type S3Client, UploadPartCommand } from "@aws-sdk/client-s3";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { leavesNothing, ONE_WORKER, type Place } from "./everything.ts";
import {
  elementOf,
  freshBucket,
  furnishedBucket,
  presign,
  type RawAnswer,
  type RawRequest,
  sendRaw,
  sendSigned,
  sign,
} from "./requests.ts";
import { startServer, type TestServer } from "./server.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

let server: TestServer;
let client: S3Client;
let place: Place;
let Bucket: string;
let uploadId: string;
/** Of the two parts that the open upload has, the first too small to be one. */
let etags: readonly [first: string, second: string];

beforeAll(async () => {
  server = await startServer({ env: ONE_WORKER });
  client = server.client();
  const { Bucket: name, UploadId } = await furnishedBucket(client);
  Bucket = name;
  uploadId = UploadId;
  place = { server, client, Bucket };
  const send = async (PartNumber: number) => {
    const input = { Bucket, Key: "parts", UploadId, PartNumber, Body: `part ${PartNumber}` };
    return (await client.send(new UploadPartCommand(input))).ETag ?? "";
  };
  etags = [await send(1), await send(2)];
});
afterAll(() => server.stop());

/** A request, spelled when the bucket's name is known. */
type Spell = () => RawRequest;
type Row = readonly [what: string, request: Spell, expected: string];

const object = (key: string) => `/${Bucket}/${key}`;
const put = (key: string, headers: Record<string, string> = {}, body = "new"): RawRequest => ({
  method: "PUT",
  path: object(key),
  headers,
  body,
});
const get = (query: Record<string, string>): RawRequest => ({
  method: "GET",
  path: `/${Bucket}`,
  query,
});

async function refused(send: () => Promise<RawAnswer>): Promise<string> {
  const answer = await leavesNothing(place, send);
  expect(elementOf(answer.text, "RequestId")).toBe(answer.headers["x-amz-request-id"]);
  expect(answer.headers["content-type"]).toBe("application/xml");
  return `${answer.status} ${answer.code}`;
}

function rows(table: readonly Row[]): void {
  test.each(table)("%s", async (_, request, expected) => {
    expect(await refused(() => sendSigned(server, request()))).toBe(expected);
  });
}

describe("rule 30: what is not offered or not there", () => {
  rows([
    [
      "encryption",
      () => put("kept", { "x-amz-server-side-encryption": "AES256" }),
      "501 NotImplemented",
    ],
    ["a lock", () => put("kept", { "x-amz-object-lock-legal-hold": "ON" }), "501 NotImplemented"],
    ["a method", () => ({ method: "PATCH", path: object("kept") }), "501 NotImplemented"],
    [
      "another's bucket",
      () => put("kept", { "x-amz-expected-bucket-owner": "1" }),
      "403 AccessDenied",
    ],
    ["an attribute", () => attributes("Colour"), "400 InvalidArgument"],
    ["no attribute", () => attributes(""), "400 InvalidRequest"],
    [
      "an upload",
      () => ({ method: "GET", path: object("parts"), query: { uploadId: "none" } }),
      "404 NoSuchUpload",
    ],
    [
      "a part without its upload, which would be an object",
      () => ({ ...put("kept"), query: { partNumber: "1" } }),
      "400 InvalidArgument",
    ],
  ]);
});

describe("documents", () => {
  const deep = "<a>".repeat(100);
  const bad: readonly (readonly [what: string, body: (root: string) => string])[] = [
    ["nothing", () => ""],
    ["no XML", () => "no XML"],
    ["another root", () => "<Other/>"],
    ["unclosed", (root) => `<${root}><Unclosed></${root}>`],
    ["elements unknown", (root) => `<${root}><Unknown/></${root}>`],
    ["a DOCTYPE", (root) => `<!DOCTYPE x [<!ENTITY e "x">]><${root}>&e;</${root}>`],
    ["an outside entity", (root) => `<!DOCTYPE x SYSTEM "file:///etc/passwd"><${root}/>`],
    [
      "a bomb",
      (root) => `<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><${root}>&c;</${root}>`,
    ],
    ["depth", (root) => `<${root}>${deep}</${root}>`],
    ["no UTF-8", (root) => `<?xml version="1.0" encoding="UTF-16"?><${root}/>`],
  ];
  const places: readonly (readonly [name: string, root: string, request: Spell])[] = [
    ["CORS rules", "CORSConfiguration", () => ({ ...get({ cors: "" }), method: "PUT" })],
    ["a bucket's tags", "Tagging", () => ({ ...get({ tagging: "" }), method: "PUT" })],
    ["an object's tags", "Tagging", () => ({ ...put("kept"), query: { tagging: "" } })],
    [
      "versioning",
      "VersioningConfiguration",
      () => ({ ...get({ versioning: "" }), method: "PUT" }),
    ],
    [
      "ownership",
      "OwnershipControls",
      () => ({ ...get({ ownershipControls: "" }), method: "PUT" }),
    ],
    ["a bucket's ACL", "AccessControlPolicy", () => ({ ...get({ acl: "" }), method: "PUT" })],
    ["an object's ACL", "AccessControlPolicy", () => ({ ...put("kept"), query: { acl: "" } })],
    ["deletes", "Delete", () => ({ ...get({ delete: "" }), method: "POST" })],
    ["parts", "CompleteMultipartUpload", () => completion()],
    [
      "a new bucket's place",
      "CreateBucketConfiguration",
      () => ({ method: "PUT", path: `/${Bucket}-new` }),
    ],
  ];

  test.each(places)("of %s that are none are refused", async (name, root, request) => {
    for (const [what, body] of bad) {
      // A bucket needs no document, and an ACL may come in a header.
      if (what === "nothing" && root === "CreateBucketConfiguration") continue;
      const wanted =
        what === "nothing" && root === "AccessControlPolicy"
          ? "MissingSecurityHeader"
          : root === "AccessControlPolicy"
            ? "MalformedACLError"
            : "MalformedXML";
      const answer = await refused(() => sendSigned(server, withDocument(request(), body(root))));
      expect(`${name}, ${what}: ${answer}`).toBe(`${name}, ${what}: 400 ${wanted}`);
    }
  });

  test.each(places)("of %s are bounded", async (_, root, request) => {
    const body = `<${root}>${" ".repeat(5 * 1024 ** 2)}</${root}>`;
    const answer = await refused(() => sendSigned(server, withDocument(request(), body)));
    expect(answer).toBe("400 MaxMessageLengthExceeded");
  });

  test("of more deletes than a thousand are refused", async () => {
    const body = `<Delete>${"<Object><Key>kept</Key></Object>".repeat(1001)}</Delete>`;
    const request = withDocument({ ...get({ delete: "" }), method: "POST" }, body);
    expect(await refused(() => sendSigned(server, request))).toBe("400 MalformedXML");
  });

  rows([
    [
      "of tags that no tag can be",
      () => withDocument({ ...get({ tagging: "" }), method: "PUT" }, tagging("a|b")),
      "400 InvalidTag",
    ],
    [
      "of CORS rules for a method unknown",
      () =>
        withDocument(
          { ...get({ cors: "" }), method: "PUT" },
          "<CORSConfiguration><CORSRule><AllowedMethod>PATCH</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
        ),
      "400 InvalidRequest",
    ],
    [
      "of versioning neither on nor suspended",
      () =>
        withDocument({ ...get({ versioning: "" }), method: "PUT" }, "<VersioningConfiguration/>"),
      "400 IllegalVersioningConfigurationException",
    ],
  ]);
});

describe("headers", () => {
  rows([
    [
      "over 8 KB",
      () => put("kept", { "x-amz-meta-large": "v".repeat(9000) }),
      "400 RequestHeaderSectionTooLarge",
    ],
    [
      "over all limits",
      () => put("kept", { "x-amz-meta-large": "v".repeat(20_000) }),
      "431 RequestHeaderSectionTooLarge",
    ],
    [
      "with more than 2 KB of metadata",
      () => put("kept", { "x-amz-meta-large": "v".repeat(2050) }),
      "400 MetadataTooLarge",
    ],
    [
      "with more than ten tags",
      () =>
        put("kept", { "x-amz-tagging": Array.from({ length: 11 }, (_, i) => `t${i}=`).join("&") }),
      "400 InvalidTag",
    ],
    [
      "with tags that cannot be decoded",
      () => put("kept", { "x-amz-tagging": "a=%ff" }),
      "400 InvalidArgument",
    ],
    [
      "with a class unknown",
      () => put("kept", { "x-amz-storage-class": "GOLD" }),
      "400 InvalidStorageClass",
    ],
    ["with an ACL unknown", () => put("kept", { "x-amz-acl": "gold" }), "400 InvalidArgument"],
    [
      "with an address that is none",
      () => put("kept", { "x-amz-website-redirect-location": "gold" }),
      "400 InvalidRedirectLocation",
    ],
  ]);
});

describe("ranges", () => {
  test.each(["bytes=4-", "bytes=4-9", "bytes=-0"])("%s of four bytes", async (range) => {
    const request = { method: "GET", path: object("kept"), headers: { range } };
    const answer = await leavesNothing(place, () => sendSigned(server, request));
    expect([answer.status, answer.code]).toEqual([416, "InvalidRange"]);
    expect(answer.headers["content-range"]).toBe("bytes */4");
  });

  rows([
    [
      "and a part's number",
      () => ({
        method: "GET",
        path: object("kept"),
        query: { partNumber: "1" },
        headers: { range: "bytes=0-1" },
      }),
      "400 InvalidRequest",
    ],
    [
      "that a part cannot copy",
      () => copyPart({ "x-amz-copy-source-range": "bytes=3-1" }),
      "400 InvalidArgument",
    ],
    [
      "beyond what a part copies",
      () => copyPart({ "x-amz-copy-source-range": "bytes=0-4" }),
      "416 InvalidRange",
    ],
    [
      "of a whole copy",
      () =>
        put("kept", {
          "x-amz-copy-source": `${Bucket}/kept`,
          "x-amz-metadata-directive": "REPLACE",
          "x-amz-copy-source-range": "bytes=0-1",
        }),
      "400 InvalidRequest",
    ],
  ]);
});

describe("keys over 1,024 bytes", () => {
  const long = "ü".repeat(513);
  const path = () => object(encodeURIComponent(long));

  rows([
    ["to write", () => ({ method: "PUT", path: path(), body: "new" }), "400 KeyTooLongError"],
    ["to read", () => ({ method: "GET", path: path() }), "400 KeyTooLongError"],
    ["to remove", () => ({ method: "DELETE", path: path() }), "400 KeyTooLongError"],
    [
      "to upload in parts",
      () => ({ method: "POST", path: path(), query: { uploads: "" } }),
      "400 KeyTooLongError",
    ],
    [
      "to copy to",
      () => ({
        method: "PUT",
        path: path(),
        headers: { "x-amz-copy-source": `${Bucket}/kept` },
      }),
      "400 KeyTooLongError",
    ],
  ]);

  test("in a list of deletes fail alone", async () => {
    const body = `<Delete><Object><Key>${long}</Key></Object></Delete>`;
    const request = withDocument({ ...get({ delete: "" }), method: "POST" }, body);
    const answer = await leavesNothing(place, () => sendSigned(server, request));
    expect([answer.status, answer.code]).toEqual([200, "KeyTooLongError"]);
  });

  test("in a form", async () => {
    expect(await refused(() => sendForm({ Key: long }))).toBe("400 KeyTooLongError");
  });

  test("of 1,024 are taken", async () => {
    const longest = encodeURIComponent(`${"ü".repeat(511)}ab`);
    const other = await freshBucket(client);
    const answer = await sendSigned(server, { method: "PUT", path: `/${other}/${longest}` });
    expect(answer.status).toBe(200);
  });
});

describe("what is no UTF-8", () => {
  rows([
    ["a key", () => put("%ff"), "400 InvalidURI"],
    ["a key cut short", () => put("%c3"), "400 InvalidURI"],
    ["a key of surrogates", () => put("%ed%a0%80"), "400 InvalidURI"],
    ["an escape that is none", () => put("%zz"), "400 InvalidURI"],
    [
      "a source to copy",
      () => put("kept", { "x-amz-copy-source": `${Bucket}/%ff` }),
      "400 InvalidArgument",
    ],
  ]);

  test("a parameter", async () => {
    const path = `/${Bucket}?prefix=%ff`;
    expect(await refused(() => sendRaw(server, { method: "GET", path }))).toBe("400 InvalidURI");
  });

  test("a document", async () => {
    const body = Buffer.concat([
      Buffer.from("<Delete><Object><Key>"),
      Buffer.of(0xff),
      Buffer.from("</Key></Object></Delete>"),
    ]);
    const request = withDocument({ ...get({ delete: "" }), method: "POST" }, body);
    expect(await refused(() => sendSigned(server, request))).toBe("400 MalformedXML");
  });

  test("a form's field", async () => {
    expect(await refused(() => sendForm({ field: Buffer.of(0xff) }))).toBe(
      "400 MalformedPOSTRequest",
    );
  });
});

describe("clocks and dates", () => {
  test.each([-16 * MINUTE_MS, 16 * MINUTE_MS, -DAY_MS])("off by %i ms", async (offMs) => {
    const signed = await sign(server, put("kept"), { signingDate: new Date(Date.now() + offMs) });
    expect(await refused(() => sendRaw(server, signed))).toBe("403 RequestTimeTooSkewed");
  });

  test.each([
    ["an object", () => put("kept")],
    ["a part", () => ({ ...put("parts"), query: { partNumber: "1", uploadId } })],
    ["a removal", () => ({ method: "DELETE", path: object("kept") })],
  ] as const)("a URL for %s, expired or not valid yet", async (_, request) => {
    const old = { expiresIn: 10, signingDate: new Date(Date.now() - MINUTE_MS) };
    const young = { expiresIn: 10, signingDate: new Date(Date.now() + 20 * MINUTE_MS) };
    for (const [options, words] of [
      [old, "Request has expired"],
      [young, "Request is not valid yet"],
    ] as const) {
      const url = await presign(server, request(), options);
      const answer = await leavesNothing(place, () => sendRaw(server, url));
      expect([answer.status, answer.code]).toEqual([403, "AccessDenied"]);
      expect(answer.text).toContain(words);
    }
  });

  test("a form, expired", async () => {
    const answer = await refused(() => sendForm({ Expires: -10 }));
    expect(answer).toBe("403 AccessDenied");
  });
});

describe("signatures", () => {
  test("replayed for something else", async () => {
    const good = await sign(server, put("kept"));
    const changes: readonly (readonly [change: Partial<RawRequest>, expected: string])[] = [
      [{ body: "old" }, "400 XAmzContentSHA256Mismatch"],
      [{ path: object("other") }, "403 SignatureDoesNotMatch"],
      [{ method: "DELETE" }, "403 SignatureDoesNotMatch"],
      [{ query: { tagging: "" } }, "403 SignatureDoesNotMatch"],
      [{ query: { "x-amz-acl": "public-read" } }, "403 SignatureDoesNotMatch"],
      [{ headers: { ...good.headers, "x-amz-meta-more": "1" } }, "403 AccessDenied"],
      [{ headers: { ...good.headers, host: "127.0.0.1" } }, "403 SignatureDoesNotMatch"],
      [
        { headers: { ...good.headers, "x-amz-date": otherDate(good) } },
        "403 SignatureDoesNotMatch",
      ],
    ];
    for (const [change, expected] of changes) {
      const answer = await refused(() => sendRaw(server, { ...good, ...change }));
      expect([Object.keys(change), answer]).toEqual([Object.keys(change), expected]);
    }
  });

  test("of a URL replayed for something else", async () => {
    const good = await presign(server, put("kept"));
    const changes: readonly Partial<RawRequest>[] = [
      { path: object("other") },
      { method: "DELETE" },
      { query: { ...good.query, tagging: "" } },
      { query: { ...good.query, "X-Amz-Expires": "61" } },
      { query: { ...good.query, "x-amz-acl": "public-read" } },
    ];
    for (const change of changes) {
      const answer = await refused(() => sendRaw(server, { ...good, ...change }));
      expect([change, answer]).toEqual([change, "403 SignatureDoesNotMatch"]);
    }
  });

  test("tampered with", async () => {
    const good = await sign(server, put("kept"));
    const { authorization = "" } = good.headers ?? {};
    const changes: readonly (readonly [from: RegExp, to: string, expected: string])[] = [
      [/Signature=(.)/, "Signature=$1$1", "403 SignatureDoesNotMatch"],
      [/Signature=\w+/, `Signature=${"0".repeat(64)}`, "403 SignatureDoesNotMatch"],
      [/Credential=\w+/, "Credential=nobody", "403 InvalidAccessKeyId"],
      [/us-east-1/, "us-east-2", "403 SignatureDoesNotMatch"],
      [/\/s3\//, "/ec2/", "400 AuthorizationHeaderMalformed"],
      [/aws4_request/, "aws5_request", "400 AuthorizationHeaderMalformed"],
      [/host;/, "", "403 AccessDenied"],
      [/, Signature=.*/, "", "400 AuthorizationHeaderMalformed"],
      [/^AWS4-HMAC-SHA256/, "AWS4-HMAC-SHA1", "400 InvalidRequest"],
      [/^.*$/, "", "403 AccessDenied"],
    ];
    for (const [from, to, expected] of changes) {
      const headers = { ...good.headers, authorization: authorization.replace(from, to) };
      const answer = await refused(() => sendRaw(server, { ...good, headers }));
      expect([from, answer]).toEqual([from, expected]);
    }
  });
});

describe("parts", () => {
  test.each(["0", "10001", "-1", "1.5", "x", ""])("number %s is refused", async (partNumber) => {
    const request = { ...put("parts"), query: { partNumber, uploadId } };
    expect(await refused(() => sendSigned(server, request))).toBe("400 InvalidArgument");
  });

  rows([
    ["10,001 of them", () => completion(listed(1, "e").repeat(10_001)), "400 MalformedXML"],
    ["number 10,001 in the list", () => completion(listed(10_001, "e")), "400 InvalidArgument"],
    ["none of them", () => completion(""), "400 MalformedXML"],
    [
      "out of order",
      () => completion(listed(2, etags[1]) + listed(1, etags[0])),
      "400 InvalidPartOrder",
    ],
    [
      "one of them twice",
      () => completion(listed(1, etags[0]) + listed(1, etags[0])),
      "400 InvalidPartOrder",
    ],
    ["one that was not sent", () => completion(listed(3, etags[0])), "400 InvalidPart"],
    ["one with another's ETag", () => completion(listed(1, etags[1])), "400 InvalidPart"],
    [
      "too small, and not the last",
      () => completion(listed(1, etags[0]) + listed(2, etags[1])),
      "400 EntityTooSmall",
    ],
  ]);
});

describe("names that no bucket can have", () => {
  const names = [
    "ab",
    "a".repeat(64),
    "Upper",
    "under_score",
    "-dash",
    "dash-",
    ".dot",
    "dot.",
    "a..b",
    "192.168.5.4",
    "xn--x",
    "a-s3alias",
    "a--ol-s3",
    "a%20b",
    "%2e%2e",
    "%2e%2e%2fetc",
    "..",
    ".",
    "a%00b",
  ];

  test.each(names)("%s is not made", async (name) => {
    const answer = await refused(() => sendSigned(server, { method: "PUT", path: `/${name}` }));
    expect(answer).toBe("400 InvalidBucketName");
  });

  test.each(["..", "%2e%2e", "a%2fb"])("%s is not read or written below", async (name) => {
    for (const method of ["GET", "PUT", "DELETE"]) {
      const request = { method, path: `/${name}/key` };
      expect(await refused(() => sendSigned(server, request))).toBe("400 InvalidBucketName");
    }
  });
});

test("path tricks are keys like any other, each its own", async () => {
  const other = await freshBucket(client);
  const keys = [
    "..",
    ".",
    "../kept",
    `../${Bucket}/kept`,
    "../../etc/passwd",
    "a/../b",
    "a/./b",
    "a//b",
    "/a",
    "//a",
    "a/",
    "a\\..\\b",
    "%2e%2e",
    "%2F",
    "a%2Fb",
    "~",
    "?",
    "#",
    "CON",
  ];
  const spelled = (key: string) => `/${other}/${key.split("/").map(encodeURIComponent).join("/")}`;
  for (const key of keys) {
    expect([key, (await sendPlain("PUT", spelled(key), key)).status]).toEqual([key, 200]);
  }
  for (const key of keys) {
    expect([key, (await sendPlain("GET", spelled(key))).text]).toEqual([key, key]);
  }
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: other }));
  expect(Contents.map(({ Key }) => Key)).toEqual(keys.toSorted());
  expect((await sendPlain("GET", object("kept"))).text).toBe("kept");
  // An escaped slash is a slash, as any other character is what its escape says.
  await sendPlain("PUT", `/${other}/a%2F%62`, "escaped");
  expect((await sendPlain("GET", `/${other}/a/b`)).text).toBe("escaped");
});

function sendPlain(method: string, path: string, body = ""): Promise<RawAnswer> {
  return sendSigned(server, { method, path, body });
}

function attributes(names: string): RawRequest {
  return {
    method: "GET",
    path: object("kept"),
    query: { attributes: "" },
    headers: { "x-amz-object-attributes": names },
  };
}

function withDocument(request: RawRequest, body: string | Buffer): RawRequest {
  const headers = {
    ...request.headers,
    "content-md5": createHash("md5").update(body).digest("base64"),
  };
  return { ...request, headers, body };
}

function tagging(key: string): string {
  return `<Tagging><TagSet><Tag><Key>${key}</Key><Value/></Tag></TagSet></Tagging>`;
}

function completion(parts = ""): RawRequest {
  const body = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
  return { method: "POST", path: object("parts"), query: { uploadId }, body };
}

function listed(number: number, etag: string): string {
  return `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`;
}

function copyPart(headers: Record<string, string>): RawRequest {
  return {
    method: "PUT",
    path: object("parts"),
    query: { partNumber: "1", uploadId },
    headers: { "x-amz-copy-source": `${Bucket}/kept`, ...headers },
  };
}

/** Less than a minute away, whatever the time is. */
function otherDate({ headers }: RawRequest): string {
  const date = headers?.["x-amz-date"] ?? "";
  const second = (Number(date.slice(13, 15)) + 1) % 60;
  return date.slice(0, 13) + String(second).padStart(2, "0") + date.slice(15);
}

async function sendForm(form: {
  readonly Key?: string;
  readonly Expires?: number;
  readonly field?: Buffer;
}): Promise<RawAnswer> {
  const { Key = "kept", Expires = 60, field } = form;
  const signed = await createPresignedPost(client, { Bucket, Key, Expires });
  const fields = Object.entries(signed.fields).map(([name, value]) => part(name, value));
  const more = field === undefined ? [] : [part("x-ignore-me", field)];
  const file = 'Content-Disposition: form-data; name="file"; filename="f"';
  const body = Buffer.concat([
    ...fields,
    ...more,
    Buffer.from(`--edge\r\n${file}\r\n\r\n12345\r\n--edge--\r\n`),
  ]);
  return sendRaw(server, {
    method: "POST",
    path: `/${Bucket}`,
    headers: {
      "content-type": "multipart/form-data; boundary=edge",
      "content-length": String(body.length),
    },
    body,
  });
}

function part(name: string, value: string | Buffer): Buffer {
  const head = `--edge\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(value), Buffer.from("\r\n")]);
}
