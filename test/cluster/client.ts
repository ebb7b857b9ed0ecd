/** One S3 client: asks gateways over HTTP, once each time, and records what it asked and what it was answered. */
import { hash } from "node:crypto";
import type { Answer as HttpAnswer, LoadClient } from "../bench/load.ts";
import type { Action, Answer, Condition, History, SeenVersion } from "../support/history.ts";
import type { Content, Contents } from "./contents.ts";
import { type Listed, listedObjects, listedVersions, textOf } from "./listings.ts";

export interface Target {
  readonly gateway: string;
  readonly bucket: string;
  readonly key: string;
}

export interface SentPart {
  readonly number: number;
  readonly content: Content;
}

export interface ClientParts {
  readonly history: History;
  readonly contents: Contents;
  /** By gateway. */
  readonly links: ReadonlyMap<string, LoadClient>;
  /** How often each kind of request was sent. */
  readonly counts: Map<string, number>;
}

/** Then it is not known any more; more than a gateway may wait for etcd and for nodes together. */
const TIMEOUT_MS = 15_000;
const NOTHING: Answer = { kind: "nothing" };
const UNKNOWN: Answer = { kind: "unknown" };

/** All contents are longer than where it begins. */
const RANGE = { start: 500, end: 70_000 };

export interface ReadOptions {
  readonly versionId?: string;
  readonly part?: "whole" | "range" | "none";
}

interface Request {
  /** What it is counted as. */
  readonly kind: string;
  readonly method: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly headers?: Record<string, string>;
}

export class Client {
  readonly name: string;
  readonly #parts: ClientParts;

  constructor(name: string, parts: ClientParts) {
    this.name = name;
    this.#parts = parts;
  }

  async put(target: Target, content: Content, condition?: Condition): Promise<Answer> {
    const action: Action = { kind: "put", value: content.name, condition };
    const body = this.#parts.contents.bytes(content);
    const kind = condition ? `put ${condition.kind}` : "put";
    const request = { kind, method: "PUT", body, headers: this.#conditional(condition) };
    return this.#recorded(target, { action, request }, (answer) => {
      return this.#written(answer, content, condition !== undefined);
    });
  }

  async remove(
    target: Target,
    { condition, versionId }: { condition?: Condition | undefined; versionId?: string } = {},
  ): Promise<Answer> {
    const action: Action = { kind: "delete", condition, versionId };
    const query = versionId === undefined ? {} : { versionId };
    const kind = versionId === undefined ? "delete" : "delete a version";
    const request = { kind, method: "DELETE", query, headers: this.#conditional(condition) };
    return this.#recorded(target, { action, request }, ({ status, headers }) => {
      if (status === 204) return { kind: "done", versionId: text(headers["x-amz-version-id"]) };
      if (condition && (status === 412 || status === 404)) return { kind: "refused" };
      return undefined;
    });
  }

  async read(target: Target, options: ReadOptions = {}): Promise<Answer> {
    return (await this.#read(target, options)).answer;
  }

  /** One page; answers after which key the next one begins. */
  async list(
    { gateway, bucket }: Omit<Target, "key">,
    { after, limit }: { after: string; limit: number },
  ): Promise<string | undefined> {
    const { history } = this.#parts;
    const query = { "list-type": "2", "max-keys": String(limit), "start-after": after };
    const began = history.now();
    const answer = await this.#ask(
      { gateway, bucket, key: "" },
      {
        kind: "list",
        method: "GET",
        query,
      },
    );
    if (answer?.status !== 200) return undefined;
    const xml = String(answer.body);
    const items = listedObjects(xml);
    const isTruncated = textOf(xml, "IsTruncated") === "true";
    const last = items.at(-1)?.key ?? "";
    const action: Action = {
      kind: "list",
      from: after === "" ? "" : `${after}\0`,
      to: isTruncated ? `${last}\0` : undefined,
    };
    const asked = { client: this.name, gateway, bucket, key: "" };
    const end = history.begin({ ...asked, action }, began);
    const found = items.map((item) => [item.key, this.#valueOf(item)] as const);
    const strange = items.find((item) => this.#valueOf(item) === undefined);
    if (strange) end(wrong(`${strange.key} is listed with ETag ${strange.etag}`));
    else end({ kind: "listed", found: found.map(([key, value]) => [key, value ?? ""]) });
    return isTruncated ? last : undefined;
  }

  /** All of the bucket, which must fit a page. */
  async listVersions({ gateway, bucket }: Omit<Target, "key">): Promise<Answer> {
    const request = { kind: "list versions", method: "GET", query: { versions: "" } };
    const target = { gateway, bucket, key: "" };
    return this.#recorded(target, { action: { kind: "list-versions" }, request }, (answer) => {
      if (answer.status !== 200) return undefined;
      const xml = String(answer.body);
      if (textOf(xml, "IsTruncated") === "true") return NOTHING;
      const found = new Map<string, SeenVersion[]>();
      for (const item of listedVersions(xml)) {
        const value = this.#valueOf(item);
        if (item.etag !== undefined && value === undefined) {
          return wrong(`${item.key} is listed with ETag ${item.etag}`);
        }
        const versions = found.get(item.key) ?? [];
        versions.push({ value, versionId: item.versionId });
        found.set(item.key, versions);
      }
      return { kind: "versions", found: [...found] };
    });
  }

  /** Of what the source held when it was read: only that may be copied, so that its name is known whatever the answer. */
  async copy(target: Target, source: { bucket: string; key: string }): Promise<Answer> {
    const { contents, history } = this.#parts;
    const seen = await this.#read({ ...target, ...source }, { part: "none" });
    if (seen.answer.kind !== "seen") return NOTHING;
    const content = contents.named(seen.answer.value);
    const headers = {
      "x-amz-copy-source": `/${source.bucket}/${source.key}`,
      "x-amz-copy-source-if-match": `"${seen.etag}"`,
    };
    const action: Action = { kind: "put", value: content.name };
    const asked = { client: this.name, gateway: target.gateway, ...source };
    const began = history.now();
    const answer = await this.#recorded(
      target,
      { action, request: { kind: "copy", method: "PUT", headers } },
      (given) => {
        // The source has changed, or has gone.
        if (given.status === 412 || given.status === 404) return NOTHING;
        if (given.status !== 200) return undefined;
        const etag = unquoted(textOf(String(given.body), "ETag"));
        return this.#written({ ...given, headers: { ...given.headers, etag } }, content, false);
      },
    );
    if (answer.kind === "done") {
      history.begin(
        { ...asked, action: { kind: "read" } },
        began,
      )({
        kind: "seen",
        value: content.name,
      });
    }
    return answer;
  }

  async createUpload(target: Target): Promise<string | undefined> {
    const answer = await this.#ask(target, {
      kind: "create an upload",
      method: "POST",
      query: { uploads: "" },
    });
    return answer?.status === 200 ? textOf(String(answer.body), "UploadId") : undefined;
  }

  /** Answers whether the part is known to be stored. */
  async putPart(target: Target, uploadId: string, { number, content }: SentPart): Promise<boolean> {
    const query = { partNumber: String(number), uploadId };
    const body = this.#parts.contents.bytes(content);
    const request = { kind: "put a part", method: "PUT", query, body };
    return (await this.#ask(target, request))?.status === 200;
  }

  /** `content`: what the parts become. */
  async complete(
    target: Target,
    uploadId: string,
    given: { parts: readonly SentPart[]; content: Content; condition?: Condition | undefined },
  ): Promise<Answer> {
    const { parts, content, condition } = given;
    const listed = parts.map(
      (part) =>
        `<Part><PartNumber>${part.number}</PartNumber><ETag>"${part.content.etag}"</ETag></Part>`,
    );
    const body = Buffer.from(
      `<CompleteMultipartUpload>${listed.join("")}</CompleteMultipartUpload>`,
    );
    const action: Action = { kind: "put", value: content.name, condition, uploadId };
    const request = {
      kind: "complete",
      method: "POST",
      query: { uploadId },
      body,
      headers: this.#conditional(condition),
    };
    return this.#recorded(target, { action, request }, (answer) => {
      const { status } = answer;
      const code = textOf(String(answer.body), "Code");
      // Another one ended it first, or a part was replaced.
      if (code === "NoSuchUpload" || code === "InvalidPart") return NOTHING;
      const etag = unquoted(textOf(String(answer.body), "ETag"));
      const headers = { ...answer.headers, ...(status === 200 && { etag }) };
      return this.#written({ ...answer, headers }, content, condition !== undefined);
    });
  }

  async abort(target: Target, uploadId: string): Promise<Answer> {
    const action: Action = { kind: "abort", uploadId };
    const request = { kind: "abort", method: "DELETE", query: { uploadId } };
    return this.#recorded(target, { action, request }, ({ status }) => {
      if (status === 204) return { kind: "done" };
      return status === 404 ? NOTHING : undefined;
    });
  }

  async #read(
    target: Target,
    { versionId, part = "whole" }: ReadOptions,
  ): Promise<{ readonly answer: Answer; readonly etag: string }> {
    let etag = "";
    const action: Action = { kind: "read", versionId };
    const query = versionId === undefined ? {} : { versionId };
    const range = part === "range" ? RANGE : undefined;
    const request = {
      kind: part === "none" ? "head" : part === "range" ? "get a range" : "get",
      method: part === "none" ? "HEAD" : "GET",
      query,
      ...(range && { headers: { range: `bytes=${range.start}-${range.end - 1}` } }),
    };
    const answer = await this.#recorded(target, { action, request }, (given) => {
      const { status, headers, body } = given;
      // The latter of a version that is a delete marker.
      if (status === 404 || status === 405) return absent(given, part === "none");
      if (status !== 200 && status !== 206) return undefined;
      etag = unquoted(headers.etag);
      const content = this.#parts.contents.byEtag(etag);
      if (!content) return wrong(`nobody wrote what has ETag ${etag}`);
      const lie = part === "none" ? undefined : this.#lie(content, body, range);
      if (lie !== undefined) return wrong(lie);
      return {
        kind: "seen",
        value: content.name,
        versionId: text(headers["x-amz-version-id"]),
      };
    });
    return { answer, etag };
  }

  /** Of no history: undefined when there is no answer, or the server's own fault. */
  async #ask(target: Target, request: Request): Promise<HttpAnswer | undefined> {
    const { kind, method, query = {}, body, headers } = request;
    const { links, counts } = this.#parts;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const link = links.get(target.gateway);
    if (!link) throw new Error(`Cannot ask ${target.gateway}: there is no such gateway`);
    try {
      const answer = await link.send({
        method,
        path: target.key === "" ? `/${target.bucket}` : `/${target.bucket}/${target.key}`,
        query: queryOf(query),
        keepBody: true,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(headers && { headers }),
        ...(body && { body, sha256: hash("sha256", body) }),
      });
      return answer.status >= 500 ? undefined : answer;
    } catch {
      return undefined;
    }
  }

  /** `meaning` answers undefined where the answer is none that S3 would give. */
  async #recorded(
    { gateway, bucket, key }: Target,
    { action, request }: { readonly action: Action; readonly request: Request },
    meaning: (answer: HttpAnswer) => Answer | undefined,
  ): Promise<Answer> {
    const end = this.#parts.history.begin({ client: this.name, gateway, bucket, key, action });
    const answered = await this.#ask({ gateway, bucket, key }, request);
    const answer = answered === undefined ? UNKNOWN : (meaning(answered) ?? unfit(answered));
    end(answer);
    return answer;
  }

  #written(answer: HttpAnswer, content: Content, isConditional: boolean): Answer | undefined {
    const { status, headers } = answer;
    if (isConditional && (status === 412 || status === 404)) {
      const code = textOf(String(answer.body), "Code");
      return code === "PreconditionFailed" || code === "NoSuchKey"
        ? { kind: "refused" }
        : undefined;
    }
    // Another write was under way: it says that this one did not happen.
    if (status === 409) return NOTHING;
    if (status !== 200) return undefined;
    const stored = this.#parts.contents.byEtag(unquoted(headers.etag));
    if (stored?.name !== content.name) {
      return wrong(`${content.name} was stored as ETag ${headers.etag}`);
    }
    return { kind: "done", versionId: text(headers["x-amz-version-id"]) };
  }

  #conditional(condition: Condition | undefined): Record<string, string> {
    if (condition === undefined) return {};
    if (condition.kind === "if-none-match") return { "if-none-match": "*" };
    return { "if-match": `"${this.#parts.contents.named(condition.value).etag}"` };
  }

  #valueOf({ etag }: Listed): string | undefined {
    return etag === undefined ? undefined : this.#parts.contents.byEtag(etag)?.name;
  }

  #lie(
    content: Content,
    body: Buffer | undefined,
    range: { start: number; end: number } | undefined,
  ): string | undefined {
    const bytes = this.#parts.contents.bytes(content);
    const expected = range ? bytes.subarray(range.start, range.end) : bytes;
    if (body?.equals(expected)) return undefined;
    return `${body?.length} bytes are not the ${expected.length} of ${content.name}`;
  }
}

/** Only where the object is what is missing: all else that cannot be found is a fault (I11). */
function absent({ body, status }: HttpAnswer, isHead: boolean): Answer | undefined {
  const code = textOf(String(body), "Code");
  const isObject = ["NoSuchKey", "NoSuchVersion", "MethodNotAllowed"].includes(code);
  return isObject || (isHead && (status === 404 || status === 405))
    ? { kind: "absent" }
    : undefined;
}

function unfit({ status, body }: HttpAnswer): Answer {
  return wrong(`it was answered ${status} ${String(body).slice(0, 300)}`);
}

function wrong(what: string): Answer {
  return { kind: "wrong", what };
}

function text(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === "string" ? header : undefined;
}

function unquoted(etag: string | undefined): string {
  return (etag ?? "").replaceAll(/"|&quot;/g, "");
}

/** As it is signed: sorted and encoded. */
function queryOf(query: Readonly<Record<string, string>>): string {
  return Object.entries(query)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .join("&");
}
