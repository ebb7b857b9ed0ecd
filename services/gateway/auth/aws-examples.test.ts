/** The examples of AWS's own documentation of Signature Version 4 for S3, with the signatures it prints. */
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { UserTable } from "#access/users-file.ts";
import { type Authentication, authenticate } from "#gateway/auth/authenticate.ts";
import { authenticateForm } from "#gateway/auth/authenticate-form.ts";
import { ChunkedBody } from "#gateway/auth/chunked-body.ts";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { SigningKeys } from "#gateway/auth/signing-key.ts";
import { openBody } from "#gateway/body.ts";
import { emptySource } from "#gateway/body-source.ts";

const USER = {
  name: "example",
  ownerId: "0".repeat(64),
  displayName: "example",
  email: undefined,
  accessKey: "AKIAIOSFODNN7EXAMPLE",
  secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

function verifier(nowMs = Date.UTC(2013, 4, 24)) {
  return {
    users: new UserTable([USER]),
    keys: new SigningKeys(),
    region: "us-east-1",
    nowMs,
    legacySignatures: false,
  };
}

function signed(request: {
  method: string;
  rawTarget: string;
  headers: Record<string, string>;
  signature: string;
  streams?: boolean;
}): Authentication {
  const names = Object.keys(request.headers).map((name) => name.toLowerCase());
  const authorization = `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=${names.toSorted().join(";")},Signature=${request.signature}`;
  const rawHeaders = Object.entries({ ...request.headers, Authorization: authorization }).flat();
  const [rawPath = "", rawQuery = ""] = request.rawTarget.split("?");
  const headers = HeaderList.fromRaw(rawHeaders);
  const { method, streams = false } = request;
  return authenticate(
    { method, rawPath, rawQuery, hostedBucket: undefined, headers, streams },
    verifier(),
  );
}

const COMMON = {
  Host: "examplebucket.s3.amazonaws.com",
  "x-amz-content-sha256": EMPTY_SHA256,
  "x-amz-date": "20130524T000000Z",
};

describe("AWS's examples of signatures in the header", () => {
  test("GET of an object's range", () => {
    const { caller, mode } = signed({
      method: "GET",
      rawTarget: "/test.txt",
      headers: { ...COMMON, Range: "bytes=0-9" },
      signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    });
    expect({ caller, mode }).toEqual({ caller: { kind: "user", user: USER }, mode: "header" });
  });

  test.each(["/test%24file.text", "/test$file.text"])(
    "PUT of an object, as %s",
    async (rawTarget) => {
      const authentication = signed({
        method: "PUT",
        rawTarget,
        headers: {
          ...COMMON,
          Date: "Fri, 24 May 2013 00:00:00 GMT",
          "x-amz-content-sha256":
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
          "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
      });
      expect(authentication.headers.get("x-amz-storage-class")).toBe("REDUCED_REDUNDANCY");
      expect(authentication.payload.mode).toBe("hash");
    },
  );

  test("GET of a bucket's lifecycle, a parameter without value", () => {
    const { mode } = signed({
      method: "GET",
      rawTarget: "/?lifecycle",
      headers: COMMON,
      signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    });
    expect(mode).toBe("header");
  });

  test.each(["/?max-keys=2&prefix=J", "/?prefix=J&max-keys=2", "/?&prefix=%4A&&max-keys=2"])(
    "listing of a bucket, as %s",
    (rawTarget) => {
      const { mode } = signed({
        method: "GET",
        rawTarget,
        headers: COMMON,
        signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
      });
      expect(mode).toBe("header");
    },
  );
});

test("AWS's example of a presigned URL", () => {
  const { mode, payload } = authenticate(
    {
      method: "GET",
      rawPath: "/test.txt",
      rawQuery:
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
      headers: HeaderList.fromRaw(["Host", "examplebucket.s3.amazonaws.com"]),
      hostedBucket: undefined,
      streams: false,
    },
    verifier(Date.UTC(2013, 4, 24, 23, 59, 59)),
  );
  expect({ mode, payload: payload.mode }).toEqual({ mode: "query", payload: "unsigned" });
});

const CHUNKS = {
  method: "PUT",
  rawTarget: "/examplebucket/chunkObject.txt",
  headers: {
    Host: "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-decoded-content-length": "66560",
  },
  streams: true,
};

test("AWS's example of a body in signed chunks", async () => {
  const authentication = signed({
    ...CHUNKS,
    headers: {
      ...CHUNKS.headers,
      "Content-Encoding": "aws-chunked",
      "Content-Length": "66824",
      "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    },
    signature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
  });
  const framed = [
    "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
    "a".repeat(65536),
    "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
    "a".repeat(1024),
    "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
  ].join("");
  expect(framed.length).toBe(66824);
  const body = openBody(Readable.from([Buffer.from(framed)]), authentication);
  expect((await body.document(100_000)).equals(Buffer.alloc(66560, "a"))).toBe(true);
});

test("AWS's example of signed chunks with a signed trailer", () => {
  const { payload } = signed({
    ...CHUNKS,
    headers: {
      ...CHUNKS.headers,
      "Content-Encoding": "aws-chunked",
      "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      "x-amz-trailer": "x-amz-checksum-crc32c",
    },
    signature: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
  });
  const body = new ChunkedBody({
    decodedLength: 66560,
    signing: payload.signing,
    trailers: ["x-amz-checksum-crc32c"],
  });
  const framed = [
    "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n",
    "a".repeat(65536),
    "\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n",
    "a".repeat(1024),
    "\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n",
    "x-amz-checksum-crc32c:sOO8/Q==\r\n",
    "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
  ].join("");
  const bytes = Buffer.concat(body.push(Buffer.from(framed)));
  expect(bytes.equals(Buffer.alloc(66560, "a"))).toBe(true);
  expect([...body.end()]).toEqual([["x-amz-checksum-crc32c", "sOO8/Q=="]]);
});

const POLICY = `{ "expiration": "2015-12-30T12:00:00.000Z",\r
  "conditions": [\r
    {"bucket": "sigv4examplebucket"},\r
    ["starts-with", "$key", "user/user1/"],\r
    {"acl": "public-read"},\r
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},\r
    ["starts-with", "$Content-Type", "image/"],\r
    {"x-amz-meta-uuid": "14365123651274"},\r
    {"x-amz-server-side-encryption": "AES256"},\r
    ["starts-with", "$x-amz-meta-tag", ""],\r
\r
    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},\r
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},\r
    {"x-amz-date": "20151229T000000Z" }\r
  ]\r
}`;

test("AWS's example of a browser form", () => {
  const form = {
    fields: new Map([
      ["key", "user/user1/${filename}"],
      ["acl", "public-read"],
      [
        "success_action_redirect",
        "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
      ],
      ["content-type", "image/jpeg"],
      ["x-amz-meta-uuid", "14365123651274"],
      ["x-amz-server-side-encryption", "AES256"],
      ["x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"],
      ["x-amz-algorithm", "AWS4-HMAC-SHA256"],
      ["x-amz-date", "20151229T000000Z"],
      ["x-amz-meta-tag", ""],
      ["policy", Buffer.from(POLICY).toString("base64")],
      ["x-amz-signature", "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"],
    ]),
    fileName: "MyFilename.jpg",
    file: emptySource,
  };
  const { caller, headers } = authenticateForm(
    { rawQuery: "", authorization: undefined, bucketName: "sigv4examplebucket", form },
    verifier(Date.UTC(2015, 11, 30)),
  );
  expect(caller).toEqual({ kind: "user", user: USER });
  expect(headers.get("key")).toBe("user/user1/MyFilename.jpg");
});
