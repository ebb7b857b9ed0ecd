/**
 * The table against AWS's own model of S3. Every operation of the model has its row, and of an operation that we offer every input is
 * read, refused with 501, or accepted for a stated reason. Whether it is read is watched: each input is sent through the whole
 * pipeline, and somebody must have asked for it.
 */
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { SERVER_OPTIONS } from "#gateway/connections.ts";
import type { NotConfigured, Operation } from "#gateway/context.ts";
import { OPERATIONS } from "#gateway/operations.ts";
import { parseQuery } from "#gateway/query.ts";
import { Gateway } from "#gateway/server.ts";
import { ALICE } from "#gateway/testing/requests.ts";
import { singleObject } from "#gateway/testing/single-object.ts";
import { ACCEPTED_HEADERS, UNOFFERED_HEADERS } from "#gateway/unoffered-headers.ts";
import { Element, XML_DECLARATION } from "#gateway/xml.ts";
import { systemClock } from "#lib/clock.ts";
import { silentLog } from "#lib/log.ts";
import { systemRandom } from "#lib/random.ts";
import { leavesOf, send } from "./support/model-requests.ts";
import { readServiceModel } from "./support/service-model.ts";

// The caller is taken for granted: what is watched here is what becomes of its input.
vi.mock("#gateway/auth/authenticate.ts", () => ({
  authenticate: ({ headers }: { headers: HeaderList }) => ({
    caller: { kind: "user", user: ALICE },
    mode: "header",
    payload: { mode: "unsigned", sha256: undefined, signing: undefined },
    headers,
  }),
}));

const MODEL = readServiceModel();
const TABLE: Readonly<Record<string, Operation>> = OPERATIONS;
const OFFERED = MODEL.filter(({ name }) => TABLE[name]?.handle !== undefined);

/** Ours, which AWS documents but does not model: a browser's form, and what a browser asks first. */
const NOT_MODELLED = ["PostObject", "Preflight"];

/** Elements of documents that change nothing, with the reason why that is true to their meaning. */
const ACCEPTED_ELEMENTS: Readonly<Record<string, string>> = {
  "PutBucketAcl/AccessControlPolicy/Owner/DisplayName": "A name to look at; the ID decides",
  "PutObjectAcl/AccessControlPolicy/Owner/DisplayName": "A name to look at; the ID decides",
  "PutBucketAcl/AccessControlPolicy/AccessControlList/Grant/Grantee/DisplayName":
    "A name to look at; the ID decides",
  "PutObjectAcl/AccessControlPolicy/AccessControlList/Grant/Grantee/DisplayName":
    "A name to look at; the ID decides",
};

describe("the table and AWS's model", () => {
  test("name the same operations", () => {
    const modelled = MODEL.map(({ name }) => name);
    expect(modelled.length).toBeGreaterThan(100);
    expect(Object.keys(TABLE).toSorted()).toEqual([...modelled, ...NOT_MODELLED].toSorted());
  });

  test.each(MODEL)("agree where $name is sent", ({ name, method, target, query }) => {
    const row = TABLE[name];
    expect(row?.method).toBe(method);
    // Lambda's answers go to a host of their own, which to us looks like a bucket.
    expect(row?.target).toBe(name === "WriteGetObjectResponse" ? "bucket" : target);
    const subresources = query.filter((condition) => !condition.startsWith("x-id="));
    expect(row?.query ?? []).toEqual(expect.arrayContaining(subresources));
  });

  test("a row answers in one way, and a write never as if it had been done", () => {
    const rows = Object.entries(TABLE);
    const twofold = rows.filter(([, row]) => row.handle && row.notConfigured);
    expect(twofold).toEqual([]);
    const pretending = rows.filter(
      ([, row]) => row.notConfigured && row.method !== "GET" && row.method !== "DELETE",
    );
    expect(pretending).toEqual([]);
  });

  test("what is refused or accepted without effect is in the model", () => {
    const headers = new Set(MODEL.flatMap(({ members }) => members.map((member) => member.name)));
    const listed = [...UNOFFERED_HEADERS.keys(), ...ACCEPTED_HEADERS.keys()];
    expect(listed.filter((name) => !headers.has(name))).toEqual([]);
    expect([...ACCEPTED_HEADERS.keys()].filter((name) => UNOFFERED_HEADERS.has(name))).toEqual([]);
  });
});

describe("every input", () => {
  let server: Server;
  const asked = new Set<string>();

  beforeAll(async () => {
    const gateway = new Gateway(
      {
        objects: singleObject({
          bucket: { tags: [], cors: [] },
          version: { partCount: 1 },
        }),
        users: { byAccessKey: () => ALICE, byOwnerId: () => ALICE },
        settings: {
          region: undefined,
          defaultOwnership: "ObjectWriter",
          domains: [],
          legacySignatures: false,
        },
        clock: systemClock,
        random: systemRandom,
      },
      { log: silentLog, onRequest: () => undefined, isReady: () => true },
    );
    server = createServer(SERVER_OPTIONS);
    gateway.attach(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    watch(asked);
  });

  beforeEach(() => asked.clear());

  afterAll(() => {
    vi.restoreAllMocks();
    server.closeAllConnections();
    server.close();
  });

  test.each(OFFERED)(
    "of $name succeeds as the test sends it at its plainest",
    async (operation) => {
      const { status, body } = await send(server, operation);
      expect(`${status} ${body}`).toMatch(/^2\d\d /);
    },
  );

  // Edge rule 14: what is not configured has its own code or an empty document, once the bucket is known to be there.
  test.each(MODEL.filter(({ name }) => TABLE[name]?.notConfigured))(
    "$name says that there is none",
    async (operation) => {
      const { status, body } = await send(server, operation);
      expect(`${status} ${body}`).toContain(expectedOf(TABLE[operation.name]?.notConfigured));
      const elsewhere = await send(server, operation, { bucket: "nowhere" });
      expect(elsewhere.body).toContain("<Code>NoSuchBucket</Code>");
    },
  );

  const unoffered = MODEL.filter(({ name }) => !TABLE[name]?.handle && !TABLE[name]?.notConfigured);

  test.each(unoffered)("$name is 501", async (operation) => {
    const { status, body } = await send(server, operation);
    expect(`${status} ${body}`).toMatch(/^501 .*<Code>NotImplemented</s);
  });

  test("is sent below: none of the model is left over", () => {
    expect(OFFERED.flatMap(({ others }) => others)).toEqual([]);
    const left = MODEL.filter(({ others }) => others.length > 0).map(({ name }) => name);
    expect(left).toEqual(["SelectObjectContent"]);
  });

  const members = OFFERED.flatMap((operation) =>
    operation.members.map((member) => ({
      operation,
      member,
      name: operation.name,
      wire: member.name,
    })),
  );

  test.each(members)("$name reads or refuses $wire", async ({ operation, member }) => {
    if (ACCEPTED_HEADERS.has(member.name)) return;
    const { status, body } = await send(server, operation, { member });
    const isRead = [...asked].some((name) => covers(name, member.name));
    expect(isRead ? "read" : `${status} ${body}`).toMatch(/^read$|^501 /);
  });

  const elements = OFFERED.flatMap((operation) =>
    leavesOf(operation.document).map((path) => ({
      operation,
      path,
      name: operation.name,
      wire: path.map((element) => element.name).join("/"),
    })),
  );

  test.each(elements)("$name reads or refuses $wire", async ({ operation, path, name, wire }) => {
    if (ACCEPTED_ELEMENTS[`${name}/${wire}`] !== undefined) return;
    const { status, body } = await send(server, operation, { path });
    const leaf = path.at(-1)?.name.replace(/^.*:/, "") ?? "";
    const isRead = asked.has(`<${leaf}>`);
    expect(isRead ? "read" : `${status} ${body}`).toMatch(
      /^read$|^501 |^400 .*(MalformedXML|UnresolvableGrant)/s,
    );
  });
});

function expectedOf(answer: NotConfigured | undefined): string {
  if (answer === undefined) throw new Error("Cannot expect an answer: there is none");
  if ("code" in answer) return `<Code>${answer.code}</Code>`;
  if ("document" in answer) return `200 ${XML_DECLARATION}${answer.document}`;
  return `${answer.status} `;
}

/** Notes every name that anything asks headers, queries and documents for. */
function watch(asked: Set<string>): void {
  const note = (target: object, method: string, spelled: (name: string) => string) => {
    const original = Reflect.get(target, method) as (...names: string[]) => unknown;
    vi.spyOn(target as Record<string, () => unknown>, method).mockImplementation(function (
      this: unknown,
      ...names: string[]
    ) {
      for (const name of names) asked.add(spelled(name));
      return original.apply(this, names);
    });
  };
  note(HeaderList.prototype, "get", asIs);
  note(HeaderList.prototype, "withPrefix", asIs);
  const query = Object.getPrototypeOf(parseQuery("a=b")) as object;
  note(query, "get", asIs);
  note(query, "has", asIs);
  for (const method of ["child", "all", "required", "attribute"]) {
    note(Element.prototype, method, (name) => `<${name}>`);
  }
}

function asIs(name: string): string {
  return name;
}

/** A prefix covers what begins with it; the one of the step that only looks for what to refuse covers nothing. */
function covers(asked: string, wanted: string): boolean {
  return (
    asked === wanted || (asked.endsWith("-") && asked !== "x-amz-" && wanted.startsWith(asked))
  );
}
