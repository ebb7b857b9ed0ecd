/** The gateway's pipeline in order: each request becomes an Exchange, passes the steps below, and gets exactly one answer. */
import type { IncomingMessage, ServerResponse } from "node:http";
import Koa, { type ParameterizedContext } from "koa";
import { authenticate, type Verifier } from "#gateway/auth/authenticate.ts";
import { authenticateForm } from "#gateway/auth/authenticate-form.ts";
import { openForm } from "#gateway/auth/multipart-form.ts";
import { HeaderList } from "#gateway/auth/request-headers.ts";
import { SigningKeys } from "#gateway/auth/signing-key.ts";
import { openBody, openFormFile } from "#gateway/body.ts";
import { StreamSource } from "#gateway/body-source.ts";
import { Connections, type HttpServer } from "#gateway/connections.ts";
import type { NotConfigured, Parts, S3Response } from "#gateway/context.ts";
import { answerPreflight, CORS_VARY, checkPreflight, corsHeaders } from "#gateway/cors.ts";
import { S3Error } from "#gateway/errors.ts";
import { Exchange, type RequestRecord } from "#gateway/exchange.ts";
import { parseQuery } from "#gateway/query.ts";
import { errorResponse, respond } from "#gateway/respond.ts";
import { refuseGrowth } from "#gateway/room.ts";
import { findAddress, findOperation, hostName, type Match, splitTarget } from "#gateway/route.ts";
import { refuseUnofferedHeaders } from "#gateway/unoffered-headers.ts";
import { Unavailable } from "#lib/unavailable.ts";
import type { KeyQuestion } from "#objects/model.ts";

/** A Logger, as far as it is needed here. */
export interface FaultLog {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface GatewayOptions {
  readonly log: FaultLog;
  /** Called once for every request, when its answer has left or its client has. */
  readonly onRequest: (record: RequestRecord) => void;
  /** What the health paths on the S3 port say. */
  readonly isReady: () => boolean;
  /** Silence after which a connection is given up on, while it is the client's turn. */
  readonly idleMs?: number;
}

/** Koa, without the listeners by which it learns that a connection broke: to us that is an exchange whose client has gone. */
class Pipeline extends Koa {
  handleRequest(context: ParameterizedContext, steps: (context: ParameterizedContext) => unknown) {
    return steps(context);
  }
}

/** Serves S3 on every server that is attached to it. */
export class Gateway {
  readonly #parts: Parts;
  readonly #options: GatewayOptions;
  readonly #domains: readonly string[];
  readonly #keys = new SigningKeys();
  /** x-amz-id-2: which process answered. */
  readonly #hostId: string;
  readonly #idPrefix: string;
  #requests: number;
  readonly #connections: Connections;
  readonly #listener: (incoming: IncomingMessage, outgoing: ServerResponse) => unknown;

  constructor(parts: Parts, options: GatewayOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#domains = parts.settings.domains.map((domain) => domain.toLowerCase());
    this.#hostId = parts.random.bytes(36).toString("base64");
    this.#idPrefix = parts.random.bytes(4).toString("hex").toUpperCase();
    this.#requests = parts.random.bytes(4).readUInt32LE();
    this.#connections = new Connections({
      hostId: this.#hostId,
      newId: () => this.#newId(),
      idleMs: options.idleMs ?? IDLE_MS,
    });
    const app = new Pipeline();
    app.on("error", () => undefined);
    app.use((context) => {
      context.respond = false;
      return this.#serve(context.req, context.res);
    });
    this.#listener = app.callback();
  }

  /** The server should be made with SERVER_OPTIONS. */
  attach(server: HttpServer): void {
    this.#connections.attach(server, this.#listener);
  }

  get inFlight(): number {
    return this.#connections.inFlight;
  }

  get connections(): number {
    return this.#connections.count;
  }

  /** Closes so many connections with their next answers, so that their clients come back elsewhere. */
  shed(connections: number): void {
    this.#connections.shed(connections);
  }

  /** Takes no new connections, finishes what is under way; breaks what is left when the deadline comes. */
  drain(deadline: AbortSignal): Promise<void> {
    return this.#connections.drain(deadline);
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const exchange = new Exchange({
      id: this.#newId(),
      incoming,
      outgoing,
      expectsContinue: this.#connections.holdsBodyBack(incoming),
      startedMs: this.#parts.clock.monotonic(),
    });
    this.#connections.enter(exchange);
    outgoing.once("close", () => this.#finish(exchange));
    const response = await this.#answer(exchange);
    if (exchange.isGone) return;
    const connection = { hostId: this.#hostId, close: this.#connections.isToClose() };
    try {
      await respond(exchange, response, connection);
    } catch (error) {
      // Part of the answer may be out: only a broken connection still tells the client that it is wrong.
      outgoing.destroy();
      if (!exchange.isGone) this.#logFault(exchange, error);
    }
  }

  async #answer(exchange: Exchange): Promise<S3Response> {
    let response: S3Response;
    try {
      response = await this.#process(exchange);
    } catch (error) {
      response = this.#refuse(exchange, error);
    }
    const cors = await this.#corsHeaders(exchange);
    return cors === undefined
      ? response
      : { ...response, headers: { ...response.headers, ...cors } };
  }

  /** The steps. Each throws to end the request there. */
  async #process(exchange: Exchange): Promise<S3Response> {
    const health = this.#health(exchange);
    if (health !== undefined) return health;
    this.#address(exchange);
    const match = findRow(exchange);
    if (match.name === "Preflight") return this.#answerPreflight(exchange);
    if (match.name === "PostObject") await this.#authenticateForm(exchange);
    else this.#authenticate(exchange, match);
    if (match.operation.bucket !== "not-loaded") await this.#loadBucket(exchange);
    checkExpectedOwner(exchange);
    authorise(exchange, match);
    refuseUnofferedHeaders(exchange.headers);
    if (match.operation.grows === true) refuseGrowth(this.#parts);
    return this.#perform(exchange, match);
  }

  /** MinIO's health paths, which deployments made for it ask for. */
  #health({ method, incoming }: Exchange): S3Response | undefined {
    const { url = "" } = incoming;
    if (!url.startsWith("/minio/health/") || (method !== "GET" && method !== "HEAD"))
      return undefined;
    const path = url.split("?", 1)[0] ?? "";
    if (path === "/minio/health/live") return { status: 200 };
    if (READY_PATHS.has(path)) return { status: this.#options.isReady() ? 200 : 503 };
    return undefined;
  }

  #address(exchange: Exchange): void {
    const { incoming } = exchange;
    checkHeaderBytes(incoming.rawHeaders);
    exchange.sent = HeaderList.fromRaw(incoming.rawHeaders);
    const target = splitTarget(incoming.url ?? "");
    exchange.target = target;
    const host = exchange.sent.get("host");
    if (host === undefined && incoming.httpVersion !== "1.0") {
      throw new S3Error("BadRequest", { message: "The Host header is missing." });
    }
    if (target.authority !== undefined && target.authority !== host) {
      throw new S3Error("BadRequest", {
        message: "The request's target and its Host header differ.",
      });
    }
    exchange.host = host ?? "";
    exchange.query = parseQuery(target.rawQuery);
    const name = host === undefined ? "" : hostName(host);
    const address = findAddress(target.rawPath, name, this.#domains);
    exchange.bucketName = address.bucketName;
    exchange.key = address.key;
    exchange.isVirtualHost = address.isVirtualHost;
  }

  #authenticate(exchange: Exchange, { operation }: Match): void {
    const { method, target, sent } = exchange;
    const { rawPath, rawQuery } = target;
    const hostedBucket = exchange.isVirtualHost ? exchange.bucketName : undefined;
    const streams = operation.streams === true;
    const request = { method, rawPath, rawQuery, hostedBucket, headers: sent, streams };
    const authentication = authenticate(request, this.#verifier());
    exchange.identify(authentication);
    exchange.openBodyWith((onFirstRead) =>
      openBody(exchange.incoming, authentication, onFirstRead),
    );
  }

  /** A form's fields stand for headers, so that it is read up to its file to learn who sends it. */
  async #authenticateForm(exchange: Exchange): Promise<void> {
    const { target, sent, bucketName } = exchange;
    const source = new StreamSource(exchange.incoming, () => exchange.sendContinue());
    const form = await openForm(source, sent.get("content-type"));
    const authentication = authenticateForm(
      { rawQuery: target.rawQuery, authorization: sent.get("authorization"), bucketName, form },
      this.#verifier(),
    );
    exchange.identify(authentication);
    exchange.openBodyWith(() => openFormFile(form.file, authentication));
  }

  #verifier(): Verifier {
    const { users, settings, clock } = this.#parts;
    const { region, legacySignatures } = settings;
    return { users, keys: this.#keys, region, legacySignatures, nowMs: clock.now() };
  }

  async #loadBucket(exchange: Exchange): Promise<void> {
    const { bucketName } = exchange;
    const { buckets } = this.#parts.objects;
    exchange.bucket = await buckets.get(bucketName, exchange.signal, firstQuestion(exchange));
    if (exchange.bucket === undefined) {
      throw new S3Error("NoSuchBucket", { elements: { BucketName: bucketName } });
    }
  }

  async #answerPreflight(exchange: Exchange): Promise<S3Response> {
    const { sent } = exchange;
    const question = {
      origin: sent.get("origin"),
      method: sent.get("access-control-request-method"),
      headers: sent.get("access-control-request-headers"),
    };
    checkPreflight(question);
    if (exchange.bucketName !== "") await this.#loadBucket(exchange);
    return { status: 200, headers: answerPreflight(exchange.bucket?.cors, question) };
  }

  #perform(exchange: Exchange, { operation }: Match): Promise<S3Response> | S3Response {
    if (operation.handle !== undefined) return operation.handle(exchange, this.#parts);
    if (operation.notConfigured !== undefined) return answerNotConfigured(operation.notConfigured);
    throw new S3Error("NotImplemented", {
      message: "A header or query you provided implies functionality that is not implemented.",
    });
  }

  #refuse(exchange: Exchange, error: unknown): S3Response {
    const refusal = this.#asRefusal(exchange, error);
    exchange.errorCode = refusal.code;
    return errorResponse(refusal, {
      id: exchange.id,
      hostId: this.#hostId,
      resource: exchange.resource,
    });
  }

  #asRefusal(exchange: Exchange, error: unknown): S3Error {
    if (error instanceof S3Error) return error;
    if (error instanceof Unavailable) {
      this.#options.log.warn({ err: error, requestId: exchange.id }, "Cannot answer now");
      return new S3Error("SlowDown", { headers: { "Retry-After": "1" }, cause: error });
    }
    if (!exchange.isGone) this.#logFault(exchange, error);
    return new S3Error("InternalError", { cause: error });
  }

  /** Browsers read errors too, so that a request refused before its bucket was looked at gets its bucket's headers as well. */
  async #corsHeaders(exchange: Exchange): Promise<Record<string, string> | undefined> {
    const { sent, bucketName, match } = exchange;
    const origin = sent.get("origin");
    if (exchange.bucket === undefined && origin !== undefined && bucketName !== "") {
      try {
        exchange.bucket = await this.#parts.objects.buckets.get(bucketName, exchange.signal);
      } catch (error) {
        // The answer stands without the headers.
        this.#options.log.warn({ err: error, requestId: exchange.id }, "Cannot read CORS rules");
      }
    }
    const rules = exchange.bucket?.cors;
    if (rules === undefined) return undefined;
    if (origin === undefined || match?.name === "Preflight") return { Vary: CORS_VARY };
    const method = sent.get("access-control-request-method") ?? exchange.method;
    return { Vary: CORS_VARY, ...corsHeaders(rules, origin, method) };
  }

  #finish(exchange: Exchange): void {
    exchange.leave();
    this.#connections.leave(exchange);
    this.#options.onRequest(exchange.record(this.#parts.clock.monotonic()));
  }

  #logFault(exchange: Exchange, error: unknown): void {
    const { id, match, bucketName, key } = exchange;
    this.#options.log.error(
      { err: error, requestId: id, operation: match?.name, bucket: bucketName, key },
      "Cannot answer a request",
    );
  }

  /** Sixteen hex digits: which process, and the how manieth request. */
  #newId(): string {
    this.#requests = (this.#requests + 1) >>> 0;
    return this.#idPrefix + this.#requests.toString(16).toUpperCase().padStart(8, "0");
  }
}

const IDLE_MS = 120_000;

const READY_PATHS: ReadonlySet<string> = new Set([
  "/minio/health/ready",
  "/minio/health/cluster",
  "/minio/health/cluster/read",
]);

/** AWS's limit on a request's headers. */
const HEADER_BYTES_MAX = 8 * 1024;

function checkHeaderBytes(rawHeaders: readonly string[]): void {
  let bytes = 0;
  for (const text of rawHeaders) bytes += text.length;
  if (bytes > HEADER_BYTES_MAX) {
    throw new S3Error("RequestHeaderSectionTooLarge", {
      elements: { MaxSizeAllowed: String(HEADER_BYTES_MAX) },
    });
  }
}

function findRow(exchange: Exchange): Match {
  const { method, query, sent, bucketName, key } = exchange;
  exchange.match = findOperation({ method, address: { bucketName, key }, query, headers: sent });
  return exchange.match;
}

function checkExpectedOwner({ headers, bucket }: Exchange): void {
  const expected = headers.get("x-amz-expected-bucket-owner");
  if (expected !== undefined && bucket !== undefined && expected !== bucket.ownerId) {
    throw new S3Error("AccessDenied");
  }
}

function authorise(exchange: Exchange, { operation }: Match): void {
  if (operation.authorises === "handler") return;
  const isOnVersion = operation.versionAction !== undefined && exchange.query.has("versionId");
  exchange.demand(isOnVersion ? operation.versionAction : operation.action);
}

function answerNotConfigured(answer: NotConfigured): S3Response {
  if ("document" in answer) return { status: 200, body: answer.document };
  if ("status" in answer) return { status: answer.status };
  const { code, message } = answer;
  throw new S3Error(code, message === undefined ? {} : { message });
}

/** What changes an object by a body looks at its key when that has come, and wants to know how it is by then. */
function firstQuestion({ method, key }: Exchange): KeyQuestion | undefined {
  if (key === "" || method === "PUT" || method === "POST") return undefined;
  return { key, isToChange: method === "DELETE" };
}
