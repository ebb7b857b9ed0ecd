/**
 * Unary gRPC calls on node:http2, for the transactions and pages that most requests wait for: bytes go and come, all members' other
 * calls go through grpc-js. A call through that costs two to three times as much (README.md), for retries, balancing, interceptors
 * and compression, none of which is wanted here.
 *
 * One connection, made when first needed and again when it was lost. What fails before a request was handed to it is "unsent";
 * after that only a status that etcd itself sent says what became of it.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import { status } from "@grpc/grpc-js";
import { EtcdFailure } from "#metadata/etcd-failure.ts";

interface UnaryTls {
  readonly ca: Buffer;
  readonly certificate?: Buffer;
  readonly key?: Buffer;
}

export interface UnaryOptions {
  readonly endpoint: string;
  /** As it is when a connection is made. */
  readonly tls?: { readonly current: UnaryTls };
  readonly windowBytes: number;
  readonly answerBytesMax: number;
}

export interface UnaryCall {
  readonly path: string;
  readonly request: Buffer;
  /** Beyond what every call has: a token. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly answerMs: number;
}

/** What has not connected by then is given up: a session whose certificate the member refuses ends without an event. */
const CONNECT_MS = 3_000;
/** gRPC's frame of a message: whether it is compressed, and its length. */
const FRAME_BYTES = 5;

/** As grpc-js fails, so that one place reads both: `code` and `details` are etcd's own words where it answered. */
class CallFailure extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, details: string) {
    super(details);
    this.code = code;
    this.details = details;
  }
}

export class UnaryConnection {
  readonly #options: UnaryOptions;
  #session: ClientHttp2Session | undefined;
  #ready: Promise<ClientHttp2Session> | undefined;

  constructor(options: UnaryOptions) {
    this.#options = options;
  }

  /** Whether a call would be sent at once. */
  get isReady(): boolean {
    return this.#session !== undefined;
  }

  /** Rejects with EtcdFailure "unsent". */
  async ready(waitMs: number): Promise<void> {
    if (this.#session) return;
    this.#ready ??= this.#connect();
    const waited = Promise.withResolvers<never>();
    const timer = setTimeout(() => waited.reject(new Error(`no answer in ${waitMs} ms`)), waitMs);
    try {
      await Promise.race([this.#ready, waited.promise]);
    } catch (cause) {
      const { endpoint } = this.#options;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new EtcdFailure("unsent", `${endpoint} cannot be reached: ${reason}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  async call({ path, request, headers, answerMs }: UnaryCall): Promise<Buffer> {
    const session = this.#session;
    const { endpoint } = this.#options;
    if (!session) throw new EtcdFailure("unsent", `${endpoint} cannot be reached`);
    let stream: ClientHttp2Stream;
    try {
      stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
        // A member without a leader then says so at once, instead of waiting for one.
        hasleader: "true",
        "grpc-timeout": `${answerMs}m`,
        ...headers,
      });
    } catch (cause) {
      this.#leave(session);
      throw new EtcdFailure("unsent", `${endpoint} cannot be reached`, { cause });
    }
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const answer = new AnswerBytes(this.#options.answerBytesMax);
    const late = setTimeout(() => {
      reject(new CallFailure(status.DEADLINE_EXCEEDED, `no answer in ${answerMs} ms`));
      stream.close(constants.NGHTTP2_CANCEL);
      // It may be a connection to nobody: the next call makes another.
      this.#leave(session);
    }, answerMs);
    let said: IncomingHttpHeaders | undefined;
    stream.on("response", (received) => {
      if (received["grpc-status"] !== undefined) said = received;
      else if (received[":status"] !== 200) {
        reject(new CallFailure(status.UNKNOWN, `HTTP status ${received[":status"]}`));
      }
    });
    stream.on("trailers", (received) => {
      said = received;
    });
    stream.on("data", (bytes: Buffer) => {
      if (answer.take(bytes)) return;
      reject(new CallFailure(status.RESOURCE_EXHAUSTED, "the answer is larger than max"));
      stream.close(constants.NGHTTP2_CANCEL);
    });
    let fault: Error | undefined;
    stream.on("error", (error: Error) => {
      fault = error;
    });
    stream.on("close", () => {
      clearTimeout(late);
      const failure = failureIn(said, fault);
      const message = answer.message();
      if (failure) reject(failure);
      else if (message) resolve(message);
      else reject(new CallFailure(status.INTERNAL, "the answer is not whole"));
    });
    stream.end(framed(request));
    return promise;
  }

  close(): void {
    this.#session?.destroy();
    this.#ready?.then(
      (session) => session.destroy(),
      () => undefined,
    );
    this.#session = undefined;
    this.#ready = undefined;
  }

  /** No new call goes this way; those under way may end. */
  #leave(session: ClientHttp2Session): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#ready = undefined;
    session.close();
  }

  #connect(): Promise<ClientHttp2Session> {
    const { endpoint, windowBytes } = this.#options;
    const tls = this.#options.tls?.current;
    const { promise, resolve, reject } = Promise.withResolvers<ClientHttp2Session>();
    const session = connect(endpoint, {
      settings: { enablePush: false, initialWindowSize: windowBytes },
      ...(tls && {
        ca: tls.ca,
        ...(tls.certificate && { cert: tls.certificate }),
        ...(tls.key && { key: tls.key }),
      }),
    });
    session.once("connect", () => session.setLocalWindowSize(windowBytes));
    // That it accepts connections says little: a process that hangs does so, too.
    session.once("remoteSettings", () => {
      clearTimeout(late);
      this.#session = session;
      resolve(session);
    });
    const gone = (error: Error) => {
      clearTimeout(late);
      reject(error);
      // Another may have been made meanwhile.
      if (this.#ready === promise) this.#ready = undefined;
      if (this.#session === session) this.#session = undefined;
    };
    const late = setTimeout(() => {
      gone(new Error("the member ended the connection, or does not answer"));
      session.destroy();
    }, CONNECT_MS).unref();
    session.on("error", gone);
    session.on("goaway", () => gone(new Error("the member is ending the connection")));
    session.on("close", () => gone(new Error("the connection was closed")));
    promise.catch(() => undefined);
    return promise;
  }
}

class AnswerBytes {
  readonly #most: number;
  readonly #pieces: Buffer[] = [];
  #length = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** False when it is more than we take. */
  take(bytes: Buffer): boolean {
    this.#length += bytes.length;
    this.#pieces.push(bytes);
    return this.#length <= this.#most + FRAME_BYTES;
  }

  /** undefined: it is not one whole message. */
  message(): Buffer | undefined {
    const [first] = this.#pieces;
    if (first === undefined) return undefined;
    const bytes = this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces, this.#length);
    if (bytes.length < FRAME_BYTES || bytes[0] !== 0) return undefined;
    return bytes.readUInt32BE(1) === bytes.length - FRAME_BYTES
      ? bytes.subarray(FRAME_BYTES)
      : undefined;
  }
}

function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, FRAME_BYTES);
  return frame;
}

function failureIn(
  said: IncomingHttpHeaders | undefined,
  fault: Error | undefined,
): CallFailure | undefined {
  const code = said?.["grpc-status"];
  if (code === undefined) {
    return new CallFailure(status.UNAVAILABLE, fault?.message ?? "the connection was lost");
  }
  if (code === "0") return undefined;
  return new CallFailure(Number(code), textOf(said?.["grpc-message"]));
}

/** gRPC's percent-encoding. */
function textOf(message: string | string[] | undefined): string {
  const text = String(message ?? "");
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
