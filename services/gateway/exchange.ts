/** One request on its way through the pipeline: each step fills in what it found out, the handler sees it as an S3Request. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import { decide } from "#access/authorise.ts";
import type { Caller } from "#access/users.ts";
import type { Authentication } from "#gateway/auth/authenticate.ts";
import type { Query, RequestBody, RequestHeaders, S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import type { OperationName } from "#gateway/operations.ts";
import { parseQuery } from "#gateway/query.ts";
import type { Match, Target } from "#gateway/route.ts";
import type { Bucket, ObjectVersion } from "#objects/model.ts";

const NO_HEADERS: RequestHeaders = { get: () => undefined, withPrefix: () => [] };
const NO_TARGET: Target = { rawPath: "", rawQuery: "", authority: undefined };
const ANONYMOUS: Caller = { kind: "anonymous" };

/** What is to be known of a request once it is over: for the access log and the metrics. */
export interface RequestRecord {
  readonly requestId: string;
  /** undefined: it named none. */
  readonly operation: OperationName | undefined;
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
  /** The user's name; undefined for anonymous requests. */
  readonly caller: string | undefined;
  readonly status: number;
  readonly errorCode: string | undefined;
  /** The answer left whole. */
  readonly isComplete: boolean;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly ms: number;
  readonly remote: string | undefined;
  readonly userAgent: string | undefined;
}

export class Exchange implements S3Request {
  readonly id: string;
  readonly method: string;
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** The client sent `Expect: 100-continue` and holds its body back until told. */
  readonly expectsContinue: boolean;
  readonly startedMs: number;

  target: Target = NO_TARGET;
  bucketName = "";
  key = "";
  isVirtualHost = false;
  /** The Host header or what stands for it, as sent. */
  host = "";
  query: Query = parseQuery("");
  match: Match | undefined = undefined;
  /** As the client sent them. */
  sent: RequestHeaders = NO_HEADERS;
  /** As the caller proved to have sent them; for a form, its fields. */
  headers: RequestHeaders = NO_HEADERS;
  caller: Caller = ANONYMOUS;
  bucket: Bucket | undefined = undefined;
  /** Bytes of the answer's body that were handed to the connection. */
  bytesOut = 0;
  errorCode: string | undefined = undefined;
  /** All of the answer was handed to the connection, though it may not have been ended yet. */
  hasAnswered = false;
  /** The connection ended before the answer did. */
  isGone = false;

  /** Asked for at once: a closed socket no longer knows it. */
  readonly #remote: string | undefined;
  #hasContinued = false;
  #openBody: ((onFirstRead: () => void) => RequestBody) | undefined;
  #body: RequestBody | undefined;
  #abort: AbortController | undefined;

  constructor(parts: {
    id: string;
    incoming: IncomingMessage;
    outgoing: ServerResponse;
    expectsContinue: boolean;
    startedMs: number;
  }) {
    this.id = parts.id;
    this.incoming = parts.incoming;
    this.outgoing = parts.outgoing;
    this.method = parts.incoming.method ?? "";
    this.expectsContinue = parts.expectsContinue;
    this.startedMs = parts.startedMs;
    this.#remote = parts.incoming.socket.remoteAddress;
  }

  get origin(): string {
    const isSecure = (this.incoming.socket as Partial<TLSSocket>).encrypted === true;
    return `${isSecure ? "https" : "http"}://${this.host}`;
  }

  /** Made when first asked for: most requests end before anything waits on it. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.isGone) this.#abort.abort(clientGone());
    }
    return this.#abort.signal;
  }

  get body(): RequestBody {
    if (this.#body === undefined) {
      if (this.#openBody === undefined) {
        throw new Error("Cannot open a body: the request is not authenticated");
      }
      this.#body = this.#openBody(() => this.sendContinue());
    }
    return this.#body;
  }

  identify({ caller, headers }: Authentication): void {
    this.caller = caller;
    this.headers = headers;
  }

  /** `open` is called when a handler first asks for the body. */
  openBodyWith(open: (onFirstRead: () => void) => RequestBody): void {
    this.#openBody = open;
  }

  /** The client waits for a word from us that it did not get yet: it may send its body, or not. */
  get isBodyHeldBack(): boolean {
    return this.expectsContinue && !this.#hasContinued;
  }

  permit(
    action: string,
    resource: { bucket: Bucket; key?: string; version?: ObjectVersion | undefined },
  ): void {
    if (!this.mayDo(action, resource)) throw new S3Error("AccessDenied");
  }

  mayDo(
    action: string,
    { bucket, version }: { bucket: Bucket; version?: ObjectVersion | undefined },
  ): boolean {
    return decide({ caller: this.caller, action, bucket, version });
  }

  /** A client that holds its body back is told to go on only now, when somebody wants to read it (edge rule 28). */
  sendContinue(): void {
    if (!this.isBodyHeldBack) return;
    this.#hasContinued = true;
    this.outgoing.writeContinue();
  }

  /** What the table's row asks for, on the bucket addressed or on the service. */
  demand(action: string): void {
    if (!decide({ caller: this.caller, action, bucket: this.bucket })) {
      throw new S3Error("AccessDenied");
    }
  }

  /** As error documents name it. */
  get resource(): string {
    if (this.bucketName === "") return "/";
    return this.key === "" ? `/${this.bucketName}` : `/${this.bucketName}/${this.key}`;
  }

  record(nowMs: number): RequestRecord {
    const { incoming, outgoing, sent } = this;
    return {
      requestId: this.id,
      operation: this.match?.name,
      method: this.method,
      bucket: this.bucketName,
      key: this.key,
      caller: this.caller.kind === "user" ? this.caller.user.name : undefined,
      status: this.isGone && !outgoing.headersSent ? CLIENT_GONE : outgoing.statusCode,
      errorCode: this.errorCode,
      isComplete: !this.isGone,
      bytesIn: incoming.complete ? Number(sent.get("content-length") ?? 0) : 0,
      bytesOut: this.bytesOut,
      ms: nowMs - this.startedMs,
      remote: this.#remote,
      userAgent: sent.get("user-agent"),
    };
  }

  /** The connection has closed. */
  leave(): void {
    this.isGone = !this.outgoing.writableFinished && !this.hasAnswered;
    if (this.isGone) this.#abort?.abort(clientGone());
  }
}

/** As servers log a request whose client did not wait for the answer. */
const CLIENT_GONE = 499;

function clientGone(): Error {
  return new Error("The client closed the connection");
}
